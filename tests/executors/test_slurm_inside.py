"""`exec` on Slurm between two attempts of a job, with fakes of squeue and srun."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from automodel_launch.executors.inside import Wanted
from automodel_launch.executors.slurm import inside
from automodel_launch.jobs.records import Record
from automodel_launch.remote.shell import LocalShell


@pytest.mark.parametrize(
    ("squeue", "code"),
    [
        ("echo RUNNING", 7),
        ("echo COMPLETING", 7),
        ("echo; exit 0", 4),  # it remembers the job for some minutes
        ("echo PENDING", 4),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", 4),
        ("echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1", 7),  # srun says so, too
    ],
)
def test_an_attempt_that_is_over_is_said_to_be(squeue: str, code: int, tmp_path: Path) -> None:
    for name, does in (("squeue", squeue), ("srun", "exit 7")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    job = str(tmp_path / "a.1")
    record = Record("a.1", "a", "stub", "default", "c", "slurm", "run", job, job, "hash", 1.0, None, {"slurm_id": "5"})
    script = inside.of(LocalShell(), record, Wanted({"host": "c1"}, ("true",)), "").script
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("(Slurm job 5) is over, and no later one has begun" in done.stderr) == (code == 4)
