"""Time from the command to Slurm's acceptance: `sbatch` alone, this launcher, and NeMo-Run's own detached submission.

    eval "$(scripts/slurm-cluster up)"; python benchmarks/slurm_submit.py [--repeat N]; scripts/slurm-cluster down

Needs a Slurm that sbatch reaches, and a folder that it shares (--root, default: a temporary one). All three submit a
job of one node that runs `true`. Prints wall-clock seconds (the least of N) and ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
SBATCH = "#!/bin/bash\n#SBATCH --output=/dev/null\nsrun true\n"


def prepare(root: Path) -> dict[str, str]:
    """Write a recipe that does nothing, its config and profile, and job.sh; returns the environment of the launcher."""
    for name, text in {"nothing.py": RECIPE, "nothing.yaml": "a: 0\n", "job.sh": SBATCH}.items():
        (root / name).write_text(text)
    (root / "env.toml").write_text(PROFILE.format(root=root))
    return {**os.environ, "LAUNCH_ENV": str(root / "env.toml"), "NEMORUN_HOME": str(root / "nemo")}


def least(repeat: int, command: list[str], env: dict[str, str]) -> float:
    """Wall-clock seconds of the quickest of `repeat` runs; each must succeed."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        times.append(time.perf_counter() - began)
        if done.returncode:
            sys.exit(f"{command[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--root", help="a folder that the cluster's nodes share")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.root) as folder:
        root = Path(folder)
        env = prepare(root)
        launch = [sys.executable, str(ROOT / "launch.py"), str(root / "nothing.py"), "-c", str(root / "nothing.yaml")]
        cases = {
            "sbatch alone": ["sbatch", "--parsable", str(root / "job.sh")],
            "launch.py --batch": [*launch, "--batch", "bench", "--fresh"],
            "NeMo-Run, detached": [sys.executable, "-c", NEMO_RUN.format(root=root)],
        }
        seconds = {name: least(args.repeat, command, env) for name, command in cases.items()}
        ours = seconds["launch.py --batch"]
        for name, value in seconds.items():
            print(f"{name:<20} {value:7.3f} s   launch.py is x {ours / value:.2f}")


if __name__ == "__main__":
    main()
