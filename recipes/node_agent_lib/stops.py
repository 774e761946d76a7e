"""Stop files: how a person, or the launcher, stops a job whose processes they may not be able to reach.

    JOB_DIR/stop    `cancel`: this job, and every later attempt of it
    RUN_DIR/stop    `pause`, or a person's `touch`: whatever job trains the run, now or later, until the file is removed

The ranks are asked to end as by SIGTERM, so they may save a checkpoint first.
"""

from __future__ import annotations

import os
import signal

import contract

from .files import read_json
from .records import Stop


def path_of(job_dir: str, run_dir: str | None) -> str | None:
    """The stop file that is there, the run's first: a pause makes both, and is told as one."""
    paths = [os.path.join(directory, contract.STOP) for directory in (run_dir, job_dir) if directory]
    return next((path for path in paths if os.path.exists(path)), None)


def told(job_dir: str, run_dir: str) -> str | None:
    """The stop file in words; None where there is none."""
    path = path_of(job_dir, run_dir)
    if path is None:
        return None
    paused = os.path.dirname(path) == run_dir.rstrip("/")
    return f"its run was paused: {path}" if paused else f"somebody stopped it: {path}"


def asked(job_dir: str) -> Stop | None:
    """What a stop file asks of the job, as if its agents had got a signal when the file was made."""
    spec = read_json(os.path.join(job_dir, contract.AGENT)) or {}
    path = path_of(job_dir, spec.get("run_dir"))
    if path is None:
        return None
    try:
        when = os.stat(path).st_mtime
    except OSError:
        return None
    return Stop("SIGTERM", int(signal.SIGTERM), when, path)
