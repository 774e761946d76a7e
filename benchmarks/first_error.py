"""Who began it, told from the logs of all ranks: one root among thousands that only say that a connection was lost.

    python benchmarks/first_error.py [--ranks 8192] [--kilobytes 20]

The agents of all nodes are gone, so that exit.json's writer has to look at every log (lost_logs.py of the node agent).
Each log is written as NCCL's watchdog leaves it: lines of errors, and long stacks. Prints what was found, the time, and
the memory that the look has needed, at an eighth of the logs and at all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from node_agent_lib import lost_logs, verdict  # noqa: E402
from node_agent_lib.records import NodeRecord  # noqa: E402

from tests.recipes.recorded_errors import LOGGED  # noqa: E402

PER_NODE = 8
FRAME = "frame #{}: c10d::ProcessGroupNCCL::WorkNCCL::checkTimeout() + 0x1d2 (0x7f3b6e71a8d2 in libtorch_cuda.so)"


def write_logs(folder: Path, ranks: int, size: int, root: int) -> None:
    """Logs of that many bytes; that of rank `root` has the error that began it."""
    said = [*LOGGED["nccl-timeout"], *LOGGED["nccl-heartbeat"], *LOGGED["nccl-remote"]]
    for rank in range(ranks):
        lines = [line.replace("ank 3", f"ank {rank}").replace("rank3", f"rank{rank}") for line in said]
        text = "\n".join(lines + [FRAME.format(number) for number in range(12)]) + "\n"
        text *= max(1, size // len(text))
        head = f"{LOGGED['gpu-memory'][0]}\n" if rank == root else ""
        (folder / f"rank-{rank}.log").write_text(head + text)


def main() -> None:
    """Write the logs, look at them, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8192)
    parser.add_argument("--kilobytes", type=int, default=20, help="of each log")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "logs").mkdir()
        root = args.ranks * 5 // 8
        write_logs(Path(name) / "logs", args.ranks, args.kilobytes * 1024, root)
        count = args.ranks // PER_NODE
        nodes = [NodeRecord("job", k, count, 0, f"gpu{k}", 1, 1, 0.0, state="running", time=9.0) for k in range(count)]
        for node in nodes:
            node.log_starts = {str(node.node * PER_NODE + local): 0 for local in range(PER_NODE)}
        began = time.monotonic()
        lost_logs.add(name, nodes, "", lambda _: False)
        seconds = time.monotonic() - began
        found = verdict.judge(nodes, count)
        right = "right" if found["rank"] == root else f"WRONG: it was rank {root}"
        print(f"{args.ranks} logs of {args.kilobytes} KiB: {seconds:.1f} s; rank {found['rank']} ({right})")
        print(f"  {found['error'][:100]}")
        for share in (8, 1):
            few = nodes[: count // share]
            tracemalloc.start()
            lost_logs.add(name, few, "", lambda _: False)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            print(f"  memory of the look at {len(few) * PER_NODE} logs: {peak:.1f} MiB")
            tracemalloc.stop()


if __name__ == "__main__":
    main()
