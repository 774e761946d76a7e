"""A reserve of disk space for the job's own records, and whether a further attempt could save anything.

    JOB_DIR/.reserve   4 MiB that an attempt holds for its end: on a full disk or quota they are given up, so that
                       exit.json, the history and the chain are written all the same

A reserve that cannot be made is the surest sign of a disk that is still full: `statvfs` knows nothing of quotas.
"""

from __future__ import annotations

import os
import re
import time
from typing import Callable

import contract

from . import files
from .backends import Backend, newest_checkpoint
from .patterns import pattern

PATIENCE_S = 20.0  # for somebody to free space; after that the nodes are of more use to others
_SIZE = 4 << 20
_POLL_S = 1.0
TORN = "torch could not write a file (is its disk full?)"
_DISK_FULL = pattern(rf"No space left on device|[Dd]isk quota exceeded|os error (28|122)\b|{re.escape(TORN)}")


def keep(job_dir: str) -> None:
    """Make the reserve where there is none.

    Raises:
        OSError: ENOSPC or EDQUOT where the disk has no space for it.
    """
    path = os.path.join(job_dir, contract.RESERVE)
    if os.path.exists(path):
        return
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(os.urandom(_SIZE))  # zeros would be compressed away, or never be given any blocks
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        files.remove(temporary)
        raise


def keep_if_possible(job_dir: str, say: Callable[[str], None]) -> None:
    """The same; a job without a reserve runs as well."""
    try:
        keep(job_dir)
    except OSError as error:
        say(f"{job_dir}: no space for a reserve: {error.strerror}")


def release(job_dir: str) -> bool:
    """Give the reserve up; whether there was one."""
    return files.remove(os.path.join(job_dir, contract.RESERVE))


def wait(job_dir: str, backend: Backend, checkpoints: str | None, error: str | None) -> str | None:
    """Wait for space after an attempt that ended with `error`; a message that says what is missing after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        missing = _missing(job_dir, backend, checkpoints, error)
        if missing is None or time.monotonic() >= deadline:
            return missing
        time.sleep(_POLL_S)


def _missing(job_dir: str, backend: Backend, checkpoints: str | None, error: str | None) -> str | None:
    try:
        keep(job_dir)
    except OSError as problem:
        if problem.errno in files.FULL:
            return f"no space left in {job_dir}: {problem.strerror}"
        return None
    if checkpoints is None or not _DISK_FULL.search(error or ""):
        return None
    needed, free = needed_for_a_save(backend, checkpoints), _free(checkpoints)
    if free is None or free >= needed:
        return None
    return f"no space left in {checkpoints}: a checkpoint takes {_size(needed)}, {_size(free)} are free"


def needed_for_a_save(backend: Backend, checkpoints: str) -> int:
    """Bytes that the next checkpoint takes, as the newest complete one did, less what an interrupted save has left."""
    newest = newest_checkpoint(backend, checkpoints)
    if newest is None:
        return 0
    size = unfinished = 0
    for path, step, complete in backend.checkpoints(checkpoints):
        if complete and step == newest:
            size = max(size, _bytes_below(path))
        elif not complete:
            unfinished = max(unfinished, _bytes_below(path))
    return max(0, size - unfinished)


def _bytes_below(directory: str) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def _free(directory: str) -> int | None:
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
