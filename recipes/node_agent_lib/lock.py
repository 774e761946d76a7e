"""One job at a time for a run: two jobs that write one set of checkpoints would destroy it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import Callable

import contract

from . import sharing

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
PATIENCE_S = 2.0  # a killed predecessor's processes need a moment to die


IN_USE = "the run is in use by job"  # how the message begins where it is another one's


class LockRefused(Exception):
    """Another job holds the run, or an earlier attempt of this one."""


def take(run_dir: str, job_id: str, say: Callable[[str], None], patience_s: float = PATIENCE_S) -> int:
    """Hold run_dir/lock until the returned fd is closed or this process dies; LockRefused names the holder.

    The fd is not inherited: the lock belongs to the open file, so a stray grandchild that kept the fd would keep the
    run locked long after the job.
    """
    path = os.path.join(run_dir, contract.LOCK)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, sharing.FILE_MODE)
    except PermissionError:
        raise LockRefused(
            f"the run is another user's: {path} cannot be written; --name gives one of your own"
        ) from None
    try:
        _flock(fd, patience_s)
    except OSError as error:
        if error.errno in _HELD:
            holder = _holder(fd)
            os.close(fd)
            own = f"an earlier attempt of this job still holds the run (lock {path})"
            raise LockRefused(own if holder == job_id else f"{IN_USE} {holder} (lock {path})") from None
        say(f"{path}: no locks on this file system ({error.strerror}); going on without")
    os.ftruncate(fd, 0)
    os.pwrite(fd, (job_id + "\n").encode(), 0)
    return fd


def is_held(fd: int) -> bool:
    """Whether what `take` has returned is a lock: there are file systems without."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flock(fd: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def _holder(fd: int) -> str:
    return os.pread(fd, 4096, 0).decode("utf-8", "replace").strip() or "(unknown)"
