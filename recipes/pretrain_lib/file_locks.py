"""Locks on files: one that the kernel lets go of when its holder dies, and what to do with torch's, which it does not.

torch's FileBaton is a file that is there or not: a process that is killed while it compiles an extension (load,
load_inline) leaves it behind, and everybody who needs that extension waits for ever, in silence. KernelBaton takes its
place in this process. It makes the same file, so that torch's own batons respect it, and holds flock on it as well: a
file with its mark that nobody holds was left by a process that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import phase
from .output import say

AUTOMODEL_GUARD = "compile.lock"  # AutoModel 0.7.0 holds flock on it while torch's `lock` beside it may exist
_POLL_S = 0.2
_MARK = b"flock\n"
_ABANDONED_S = 1800.0  # an unmarked file is that old and nobody here has it open: no extension compiles for so long


@contextlib.contextmanager
def held(path: Path, what: str, mode: int = 0o600, patience_s: float = math.inf) -> Iterator[bool]:
    """Hold flock on `path`; while another process has it, the phase and one line of the log say so.

    After `patience_s` seconds (a holder that was stopped), and on a file system without locks, it goes on without;
    whether it is held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    end = time.monotonic() + patience_s
    found: bool | None = False

    def ready() -> bool:
        nonlocal found
        found = _flock(descriptor)
        return found is not False or time.monotonic() > end

    try:
        _await(
            ready,
            f"waiting for another process: {what}",
            f"it holds {path}",
        )
        yield found is True
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds flock on `path`; not where that is no file, or cannot be locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _flock(descriptor) is False
    finally:
        os.close(descriptor)


def clear_left_behind(root: Path) -> None:
    """Remove the locks that killed processes have left in AutoModel's build directories below `root`.

    Who has the guard knows that nobody compiles. A guard that another process holds is left to it.
    """
    for lock in sorted(root.glob("*/lock")) if _is_own(root) else []:
        with contextlib.suppress(OSError):
            descriptor = os.open(lock.with_name(AUTOMODEL_GUARD), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _flock(descriptor):
                    lock.unlink(missing_ok=True)
                    say(f"removed {lock}: a process that was killed while it compiled had left it")
            finally:
                os.close(descriptor)


def replace_torchs() -> None:
    """Have torch compile extensions under a KernelBaton in this process."""
    import torch.utils.file_baton

    torch.utils.file_baton.FileBaton = KernelBaton
    extension = sys.modules.get("torch.utils.cpp_extension")  # it takes the name over when it is imported
    if extension is not None:
        extension.FileBaton = KernelBaton  # type: ignore[attr-defined]


class KernelBaton:
    """In place of torch 2.13's FileBaton. try_acquire waits and says so; torch's own wait builds nothing afterwards."""

    def __init__(self, lock_file_path: str, *_: Any, **__: Any) -> None:
        self._path = Path(lock_file_path)
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Wait for the lock and take it; always True."""
        _await(self._try, "waiting for another process: it compiles a torch extension", f"it holds {self._path}")
        return True

    def wait(self) -> None:
        """Nothing: try_acquire has waited."""

    def release(self) -> None:
        """Let others have it."""
        self._path.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _try(self) -> bool:
        flags = os.O_RDWR | os.O_CLOEXEC
        new = True
        try:
            descriptor = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            new = False
            try:
                descriptor = os.open(self._path, flags)
            except OSError:  # gone meanwhile, or another user's
                return False
        flock = _flock(descriptor)
        if flock is False or not (new or self._is_left_behind(descriptor)):
            os.close(descriptor)
            return False
        if flock:
            os.pwrite(descriptor, _MARK, 0)
        self._descriptor = descriptor
        return True

    def _is_left_behind(self, descriptor: int) -> bool:
        """Contract: this process has flock on the file, or nobody can."""
        found = os.fstat(descriptor)
        try:
            there = self._path.stat()
        except OSError:
            return False
        if (there.st_dev, there.st_ino) != (found.st_dev, found.st_ino):
            return False
        marked = os.pread(descriptor, len(_MARK), 0) == _MARK
        return marked or (time.time() - found.st_mtime > _ABANDONED_S and not _is_open_elsewhere(found))


def _flock(descriptor: int) -> bool | None:
    """Whether this process has it now; None where the file system has no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _await(ready: Callable[[], bool], name: str, why: str) -> None:
    if ready():
        return
    say(f"{name} ({why})")
    with phase.during(name):
        while not ready():
            time.sleep(_POLL_S)


def _is_own(root: Path) -> bool:
    try:
        return os.lstat(root).st_uid == os.geteuid()
    except OSError:
        return False


def _is_open_elsewhere(wanted: os.stat_result) -> bool:
    """Whether another process of this user, as far as it is seen from here, has the file open."""
    for directory in Path("/proc").glob("[0-9]*/fd"):
        if directory.parent.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            for link in directory.iterdir():
                with contextlib.suppress(OSError):
                    found = link.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    return False
