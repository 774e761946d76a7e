"""`doctor` for this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch import executors
from automodel_launch.doctor import diagnosis, left_locks
from automodel_launch.doctor.diagnosis import PACKAGES, PROBE, Line
from automodel_launch.remote import disk, gpus

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

_PYTHON_S = 10


def examine(profile: Profile, workspace: Workspace) -> Iterator[Line]:
    """Python and its packages, the job root, GPUs."""
    executor = executors.get(profile.executor)
    python = profile.python or sys.executable
    yield from lines(executor.job_root(profile, workspace), python, executor.processes(profile), profile.gpus_per_node)


def lines(root: str, python: str, processes: int, wanted_gpus: int | None) -> Iterator[Line]:
    """What is fine and what is not."""
    yield from diagnosis.training_python(python, *_probe(python))
    yield from diagnosis.job_root(disk.local(root))
    yield _gpus(gpus.count(), processes, wanted_gpus)
    yield from left_locks.lines(_left_locks())


def _left_locks() -> str:
    try:
        command = ["bash", "-c", left_locks.question()]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=_PYTHON_S, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return ""
    return done.stdout


def _probe(python: str) -> tuple[int, str]:
    try:
        command = [python, "-I", "-c", PROBE, *PACKAGES]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_PYTHON_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_PYTHON_S} s"
    except OSError as error:
        return 1, error.strerror or str(error)
    return done.returncode, done.stdout


def _gpus(present: int, processes: int, wanted: int | None) -> Line:
    needed = max(wanted or 0, processes if present else 0)
    if needed > present:
        return Line("FAIL", "GPUs", f"{present}, and the profile wants {needed}", f"nproc_per_node = {present or 1}")
    if not present:
        return Line("ok", "GPUs", f"none: {processes} processes train on the CPU")
    return Line("ok", "GPUs", f"{present} for {processes} processes")
