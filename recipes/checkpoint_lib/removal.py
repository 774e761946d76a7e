"""Removes checkpoints, while no job of the run is at work.

The lock that the run's job holds is held for the moment in which they are renamed: from then on neither a framework's
search nor the launcher takes them for checkpoints. The files go afterwards, which may take minutes; what a killed
removal has left, the next one removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import contract

from . import listing
from .stopped import Stopped

_PREFIX = ".removed-"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Remove the checkpoints `names` below `folder`; the names that are gone, and why others are not.

    Raises:
        Stopped: A job holds the run, or a name is none of a checkpoint. Nothing was removed.
    """
    folder = Path(request["folder"])
    for name in request["names"]:
        if not listing.is_removable(name) or (folder / name).is_symlink():
            raise Stopped(f"{folder / name} is no checkpoint; nothing was removed")
    renamed: list[tuple[str, Path]] = []
    failed: dict[str, str] = {}
    with _held(Path(request["run_dir"])):
        for name in request["names"]:
            needed = list(listing.needed_by(Path(request["run_dir"]), name))
            if needed:
                failed[name] = f"run {needed[0]} begins from it"
                continue
            try:
                renamed.append((name, _renamed(folder / name)))
            except OSError as error:
                failed[name] = error.strerror or str(error)
    gone = []
    for name, path in renamed:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            failed[name] = f"what is left of it lies in {path}"
        else:
            gone.append(name)
    return {"removed": gone, "failed": failed}


def _renamed(path: Path) -> Path:
    """Under a name that nobody takes for a checkpoint."""
    if path.name.startswith(_PREFIX):
        return path
    target = path.with_name(_PREFIX + path.name)
    if target.exists():
        shutil.rmtree(target)
    return path.rename(target)


@contextmanager
def _held(run_dir: Path) -> Iterator[None]:
    """The lock that an agent holds while it works.

    Raises:
        Stopped: A job holds it.
    """
    path = run_dir / contract.LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # no job has ever begun
        yield
        return
    except PermissionError:
        raise Stopped(f"the run is another user's: {path} cannot be written; nothing was removed") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                holder = os.pread(fd, 4096, 0).decode("utf-8", "replace").strip()
                message = f"{holder or 'a job'} of this run is at work (lock {path}); nothing was removed"
                raise Stopped(message, "once it has ended, prune again") from None
            # a file system without locks: what the launcher has asked of the run's jobs has to do
        yield
    finally:
        os.close(fd)
