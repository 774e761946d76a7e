"""A sweep from the command to Slurm's acceptance: this launcher, submitit's array, and a loop of sbatch.

    eval "$(scripts/slurm-cluster up)"; python benchmarks/sweep.py [--points 200] [--submitit PYTHON]

Needs a Slurm that sbatch reaches, and a folder that it shares (--root, default: a temporary one). Every point is a job
of one node that runs `true`. `--submitit` is a Python that has submitit; without it that line is left out. Prints
wall-clock seconds, CPU seconds of the submitter, and ratios to ours; the limit is the project's own, 10 s beyond the
start.

submitit and the loop plan nothing: they neither resolve a config a point nor check it, nor find it again.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.slurm_submit import prepare  # noqa: E402

LIMIT = 10.0
SUBMITIT = """
import submitit
executor = submitit.SlurmExecutor(folder="{root}/submitit")
executor.update_parameters(time=1, array_parallelism=1)
executor.map_array(abs, range({points}))
"""
LOOP = 'for point in $(seq {points}); do sbatch --parsable --hold "{root}/job.sh" "$point"; done'


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a command, which must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def queued(env: dict[str, str]) -> int:
    """Tasks and jobs in the queue; none is left of them afterwards."""
    listed = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True, env=env, check=True)
    ids = sorted({re.split("_", line)[0] for line in listed.stdout.split()})
    for start in range(0, len(ids), 100):
        subprocess.run(["scancel", *ids[start : start + 100]], env=env, check=False)
    return len(listed.stdout.split())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--root", help="a folder that the cluster's nodes share")
    parser.add_argument("--submitit", help="a Python that has submitit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.root) as folder:
        root = Path(folder)
        env = prepare(root)
        own = [sys.executable, str(ROOT / "launch.py")]
        sweep = [
            *own,
            str(root / "nothing.py"),
            "-c",
            str(root / "nothing.yaml"),
            "--batch",
            "bench",
            "--name",
            "bench",
        ]
        sweep += ["--at-most", "1", "--sweep", f"a={','.join(map(str, range(1, args.points + 1)))}"]
        where = {"root": root, "points": args.points}
        cases = {
            "launch.py, start alone": [*own, "profiles", "bench"],
            "launch.py --sweep": sweep,
            "the same again": sweep,
            "launch.py status SWEEP": [*own, "status", "bench"],
            "submitit, map_array": [args.submitit, "-c", SUBMITIT.format(**where)] if args.submitit else [],
            "sbatch in a loop": ["bash", "-c", LOOP.format(**where)],
        }
        seconds = {}
        for name, command in cases.items():
            if not command:
                continue
            seconds[name] = timed(command, env)
            last = name.startswith(("launch.py status", "submitit", "sbatch"))
            print(f"{name:<24} {seconds[name][0]:7.2f} s, CPU {seconds[name][1]:6.2f} s", flush=True)
            if last:
                print(f"{'':<24} {queued(env)} in the queue")
        ours = seconds["launch.py --sweep"][0]
        for name in ("submitit, map_array", "sbatch in a loop"):
            if name in seconds:
                print(f"ours is x {ours / seconds[name][0]:.2f} of {name}")
        beyond = ours - seconds["launch.py, start alone"][0]
        print(f"{beyond:.1f} s beyond the start, the limit is {LIMIT:g} s: {'kept' if beyond < LIMIT else 'exceeded'}")


if __name__ == "__main__":
    main()
