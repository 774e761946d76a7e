"""A run that a group shares: whoever of them trains it writes files that the others can change, whatever their umask.

The launcher gives a run's directory to the group where that has been given the job root (setgid, writable): there the
next job may be another person's, which goes on with the checkpoints and records of this one.
"""

from __future__ import annotations

import os
import stat

import contract

from .files import read_json

FILE_MODE = 0o666  # the umask takes away what others shall not have


def follow(run_dir: str) -> None:
    """This process, and what it starts, leave the group's right to write where the run's directory has it."""
    try:
        shared = bool(os.stat(run_dir).st_mode & stat.S_IWGRP)
    except OSError:
        return
    if shared:
        os.umask(os.umask(0o077) & ~stat.S_IWGRP)


def follow_job(job_dir: str) -> None:
    """The same, for the run of that job."""
    run_dir = (read_json(os.path.join(job_dir, contract.AGENT)) or {}).get("run_dir")
    if isinstance(run_dir, str):
        follow(run_dir)
