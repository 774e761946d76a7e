"""The directory of a rehearsal, and its end: it goes, and the worker with it, however the first process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

PREFIX = "rehearsal-"
_LOCK = ".lock"
_NEW_S = 60.0  # a directory this young may be about to be locked


class Scratch:
    """A directory of one's own. A keeper, a process that does nothing else, removes it if the first process is killed.

    The keeper is a session of its own, so that a signal to the first one's group does not end it, too. Should both be
    killed at once, the next rehearsal of this user removes the directory: its lock is free then.
    """

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.geteuid()}-", dir=parent)).resolve()
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        reader, self._to_keeper = os.pipe()
        self._keeper = os.fork()
        if self._keeper == 0:
            os.close(self._to_keeper)
            _keep(reader, self.path)
        os.close(reader)

    def watch(self, pid: int) -> None:
        """Have the process group `pid` killed as well when this process is gone."""
        os.write(self._to_keeper, f"{pid}\n".encode())

    def remove(self) -> None:
        """Remove the directory, and end the keeper."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._to_keeper)
        os.close(self._lock)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._keeper, 0)


def _keep(reader: int, path: Path) -> None:
    """Wait until the first process is gone, and clean up after it; never returns."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # an SSH connection stays open as long as anybody holds these
        os.dup2(nothing, stream)
    told = b""
    while chunk := os.read(reader, 4096):
        told += chunk
    if path.exists():
        for pid in map(int, told.split()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.05)  # a process that was killed while it made a file
        shutil.rmtree(path, ignore_errors=True)
    os._exit(0)


def sweep(parent: Path) -> None:
    """Remove this user's directories there that nobody holds."""
    for path in parent.glob(f"{PREFIX}{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime < _NEW_S or path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
