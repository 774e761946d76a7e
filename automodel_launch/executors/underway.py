"""Is the command that submits a job still at it? It outlives a launcher that is killed.

The command holds a lock on a file in the job's directory, and so do the processes it starts: sbatch, docker, the agent
until it has reported. Where a file system has no locks nothing is held, and a job that appears late is found late.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sys

from automodel_launch import contract

MARK = "underway"
FD = 9
_FLOCK = f"import fcntl; fcntl.flock({FD}, fcntl.LOCK_EX | fcntl.LOCK_NB)"


def holding(job_dir: str, here: bool = False) -> str:
    """Lines of bash before the command: from here on, and in what it starts, the lock is held.

    `here`: on this machine, which may have no flock(1) (macOS). The lock belongs to the open file, and so outlives the
    process that has taken it.
    """
    take = f"{shlex.quote(sys.executable)} -ISc {shlex.quote(_FLOCK)}" if here else ":"
    file = shlex.quote(f"{job_dir}/{contract.SUBMISSION}")
    return f"exec {FD}>>{file} && {{ flock -n {FD} || {take}; }} 2>/dev/null\n"


def asking(job_dir: str) -> str:
    """Lines of bash that print MARK while the lock is held."""
    file = shlex.quote(f"{job_dir}/{contract.SUBMISSION}")
    return f'[ ! -e {file} ] || flock -n -E 99 {file} true 2>/dev/null || [ "$?" != 99 ] || echo {MARK}\n'


def here(job_dir: str) -> bool:
    """Whether it is held, of a directory that this machine sees."""
    try:
        fd = os.open(f"{job_dir}/{contract.SUBMISSION}", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False
