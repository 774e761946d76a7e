"""A launch tried on a real Slurm, scripts/slurm-cluster, for try_real.py."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from automodel_launch.errors import LaunchError
from automodel_launch.launch import submit
from tests.faults import launches
from tests.faults.launches import FOLDER, ROOT, Launch, Stage

answers: dict[str, str | int] = {}  # of Slurm's commands, where they differ from those in slurm.yml


def try_slurm(launch: Launch, stage: Stage) -> tuple[str, str]:
    """Submit the plan, and look what becomes of it."""
    with cluster(stage.here.parent, pyxis="srun" not in launch.slurm) as environ, launches.shell(launch, stage):
        os.environ.update(environ)
        os.environ["PATH"] = os.environ["PATH"].partition(":")[2]  # without the recorded answers
        try:
            plan = launches.plan(launch, stage)
        except LaunchError as error:
            return "Slurm 22.05.8", f"NOT TRIED, the launcher: {error.message}"
        done = subprocess.run(["sbatch", "--test-only"], input=plan.script, capture_output=True, text=True)
        tested = " ".join(done.stderr.split())
        if done.returncode:
            answers.update(sbatch=done.stderr, code=done.returncode)
        try:
            made, record = submit.submit(plan, stage.workspace)
        except LaunchError as error:
            return "Slurm 22.05.8", f"--test-only: {tested}; submitted: {error.message.partition(': ')[2]}"
        job = record.handle["slurm_id"]
        time.sleep(8)
        state = _shell(f"scontrol -o show job {job} | grep -oE '(JobState|Reason|ExitCode)=[^ ]+'")
        logs = sorted(Path(made.job_dir, "logs").glob("*"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if "error" in line]
        _shell(f"scancel {job}")
        return "Slurm 22.05.8", f"--test-only: {tested}; submitted: {state} {' '.join(lines[:2])}"


@contextlib.contextmanager
def cluster(seen: Path, pyxis: bool) -> Iterator[dict[str, str]]:
    """A cluster of four nodes, with or without the stand-in for pyxis; `seen` is a directory that they see."""
    script = [str(ROOT / "scripts" / "slurm-cluster"), "--dir", f"/tmp/try-real-{os.getpid()}"]
    plugin = FOLDER.parent / "slurm" / "spank_testct.c"
    Path(script[2]).mkdir(exist_ok=True)
    Path(script[2]).chmod(0o755)
    built = f"{script[2]}/spank.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, str(plugin)], check=True)
    shared = [word for path in (ROOT, Path(sys.prefix), seen) for word in ("--shared", str(path))]
    options = ["--owner", str(os.getpid()), *(["--pyxis", built] if pyxis else []), *shared]
    subprocess.run([*script, "up", *options], check=True, stdout=subprocess.DEVNULL)
    try:
        yield {"SLURM_CONF": f"{script[2]}/slurm.conf"}
    finally:
        subprocess.run([*script, "down"], check=True)


def _shell(command: str, text: str = "") -> str:
    done = subprocess.run(["bash", "-c", f"{command} 2>&1"], input=text, capture_output=True, text=True)
    return " ".join(done.stdout.split())
