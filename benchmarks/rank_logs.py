"""What `logs --rank all --follow` costs over SSH: the first look at many ranks' logs, and one that finds nothing new.

    python benchmarks/rank_logs.py [--ranks 1024] [--kilobytes 4] [--python-only]

Starts an sshd on the loopback address for a user without start-up files, so it needs root and what
scripts/install-test-system.sh installs. Beside ours stand the way without a Python on the login node, and the least
that both need: one `cat` of all files over the same connection, and one `true`.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from automodel_launch.launch.tails import Tail, new_lines  # noqa: E402
from automodel_launch.remote import reader  # noqa: E402
from automodel_launch.remote.filesystem import RemoteFileSystem  # noqa: E402
from automodel_launch.remote.ssh import SshShell  # noqa: E402
from tests.slurm.sshd import SshServer  # noqa: E402

LOOKS = 5  # the median of so many


def seconds(call: Callable[[], object]) -> float:
    """The wall-clock time of a call."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def looks(place: RemoteFileSystem, logs: list[str]) -> tuple[float, float]:
    """Seconds of a first look and of one that finds nothing new, medians."""
    first, empty = [], []
    for _ in range(LOOKS):
        tails = {number: Tail(path) for number, path in enumerate(logs)}
        first.append(seconds(lambda tails=tails: list(new_lines(tails, place))))  # type: ignore[misc]
        empty.append(seconds(lambda tails=tails: list(new_lines(tails, place))))  # type: ignore[misc]
    return statistics.median(first), statistics.median(empty)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--kilobytes", type=int, default=4)
    parser.add_argument("--python-only", action="store_true", help="not the way without a Python, 8 ms a log")
    args = parser.parse_args()
    server = SshServer(login_shell="/bin/sh")
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            measure(server, Path(folder), args.ranks, args.kilobytes, args.python_only)
    finally:
        server.remove()


def measure(server: SshServer, folder: Path, ranks: int, kilobytes: int, python_only: bool) -> None:
    """Both ways of ours, and the least."""
    (folder / "ssh").write_text(f'#!/bin/bash\nexec {shutil.which("ssh")} -F {server.config} "$@"\n')
    (folder / "ssh").chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    os.environ["XDG_RUNTIME_DIR"] = str(server.dir)
    logs = [str(folder / f"rank-{number}.log") for number in range(ranks)]
    for path in logs:
        Path(path).write_text(("x" * 127 + "\n") * 8 * kilobytes)
    shell = SshShell("login")
    shell.run("true")
    least = (
        statistics.median(seconds(lambda: shell.run_bytes(f"cat {folder}/*.log")) for _ in range(LOOKS)),
        statistics.median(seconds(lambda: shell.run("true")) for _ in range(LOOKS)),
    )
    print(f"{ranks} ranks, {kilobytes} kB each; the first look, an empty one:")
    print(f"{'cat, true':<22} {least[0]:7.2f} s {least[1]:7.2f} s")
    ours = looks(RemoteFileSystem(shell), logs)
    rows = [("ours", ours)]
    if not python_only:
        reader.FEW = 10**9
        rows.append(("without python3 there", looks(RemoteFileSystem(shell), logs)))
    for name, found in rows:
        ratios = f"x {found[0] / least[0]:.1f}, x {found[1] / least[1]:.1f} of the least"
        print(f"{name:<22} {found[0]:7.2f} s {found[1]:7.2f} s   {ratios}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"the largest this process has been: {peak} MiB")


if __name__ == "__main__":
    main()
