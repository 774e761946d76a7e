"""Time from the command to Slurm's acceptance: `sbatch` alone, this launcher, submitit, and NeMo-Run's own submission.

    eval "$(scripts/slurm-cluster up)"; python benchmarks/slurm_submit.py [--repeat N]; scripts/slurm-cluster down

Needs a Slurm that sbatch reaches, and a folder that it shares (--root, default: a temporary one). All three submit a
job of one node that runs `true`; submitit is measured where it is installed (`pip install submitit`). Prints
wall-clock and CPU seconds (the least of N) and ratios of CPU seconds, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import own_checkout

RECIPE = '# /// script\n# [tool.runspec]\n# name = "nothing"\n# ///\n'
PROFILE = '[bench]\nexecutor = "slurm"\nnproc_per_node = 1\ncontainer_image = "none"\nremote_job_dir = "{root}/jobs"\n'
NEMO_RUN = """
import nemo_run as run
executor = run.SlurmExecutor(account="none", partition=None, time="00:01:00", packager=run.Packager(),
                             tunnel=run.LocalTunnel(job_dir="{root}/nemo/experiments"))
executor.account = None
executor.job_name_prefix = "bench."
with run.Experiment("bench", base_dir="{root}/nemo", skip_status_at_exit=True) as exp:
    exp.add(run.Script(inline="true"), executor=executor, name="nothing")
    exp.run(detach=True)
"""
SUBMITIT = """
import submitit
executor = submitit.SlurmExecutor(folder="{root}/submitit")
executor.update_parameters(time=1, nodes=1, ntasks_per_node=1)
print(executor.submit(print, "true").job_id)
"""
SBATCH = "#!/bin/bash\n#SBATCH --output=/dev/null\nsrun true\n"


def prepare(root: Path) -> dict[str, str]:
    """Write a recipe that does nothing, its config and profile, and job.sh; returns the environment of the launcher."""
    for name, text in {"nothing.py": RECIPE, "nothing.yaml": "a: 0\n", "job.sh": SBATCH}.items():
        (root / name).write_text(text)
    (root / "env.toml").write_text(PROFILE.format(root=root))
    return {**os.environ, "LAUNCH_ENV": str(root / "env.toml"), "NEMORUN_HOME": str(root / "nemo")}


@dataclass(frozen=True)
class Seconds:
    """Of one command with its children."""

    wall: float
    cpu: float


def least(repeat: int, command: list[str], env: dict[str, str]) -> Seconds:
    """The least of `repeat` runs; each must succeed."""
    times = []
    for _ in range(repeat):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(Seconds(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
        if done.returncode:
            sys.exit(f"{command[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Seconds(min(one.wall for one in times), min(one.cpu for one in times))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--root", help="a folder that the cluster's nodes share")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.root) as folder:
        root = Path(folder)
        env = prepare(root)
        launch = [
            sys.executable,
            str(own_checkout.make(root)),
            str(root / "nothing.py"),
            "-c",
            str(root / "nothing.yaml"),
        ]
        cases = {
            "sbatch alone": ["sbatch", "--parsable", str(root / "job.sh")],
            "launch.py --batch": [*launch, "--batch", "bench", "--fresh"],
            "launch.py --dry-run": [*launch, "--batch", "bench", "--dry-run"],
            "NeMo-Run, detached": [sys.executable, "-c", NEMO_RUN.format(root=root)],
        }
        if importlib.util.find_spec("submitit"):
            cases["submitit"] = [sys.executable, "-c", SUBMITIT.format(root=root)]
        seconds = {name: least(args.repeat, command, env) for name, command in cases.items()}
        ours = seconds["launch.py --batch"]
        for name, value in seconds.items():
            ratio = f"launch.py is x {ours.cpu / value.cpu:.2f} in CPU seconds"
            print(f"{name:<20} {value.wall:7.3f} s  cpu {value.cpu:6.3f} s   {ratio}")


if __name__ == "__main__":
    main()
