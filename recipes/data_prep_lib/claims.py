"""Which process makes a shard: it is claimed, and a claim lasts as long as the process that holds it.

A claim is a lock on a file of the shared file system. The kernel gives it up when its holder dies, and others then take
the shard; there is no static share. Where there are no locks, a claim is a file that is made once (O_EXCL) and touched
while its holder lives; one that has not been touched for a while is taken over. Two that make one shard all the same
(locks that only one node sees) write the same bytes under the same names: time is lost, nothing else.

So one other process makes what stands still, too: a holder that was stopped, or waits for a file system for ever, keeps
its lock, but the time of the locked file is that of its last batch of documents (`touch`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from data_prep_lib.shards import Shard

# A file system without locks: Lustre mounted without -o flock, some FUSE ones.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_TOUCH, _DEAD = 15.0, 180.0  # seconds: NFS may show a new time a minute late
STUCK = 600.0  # a batch takes milliseconds, a document of gigabytes minutes
_QUIET = 120.0  # that is worth a word
_AGAIN = ".again"  # of the second claim to a shard

Item = tuple[Shard, str]


class Claims:
    """The claims of this process, in `directory`."""

    def __init__(self, directory: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self._directory, self._say = directory, say
        self._held: dict[str, IO[bytes] | None] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._touched = time.monotonic()

    def take(self, name: str) -> bool:
        """False where another process that lives has it."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = try_lock(path)
            if file is None and self._is_dead(name, path, STUCK):
                file = try_lock(path.with_name(name + _AGAIN))
                if file is not None:
                    self._say(f"{self._standing(name)}: it is made here as well")
        except OSError as e:
            if e.errno not in NO_LOCKS:
                raise
            return self._take_without_locks(name)
        if file is None:
            return False
        self._seen.pop(name, None)
        self._held[name] = file
        return True

    def forget(self, name: str) -> None:
        """It is made."""
        self._seen.pop(name, None)

    def standing(self) -> str | None:
        """Of what others have, in words, what stands still for the longest; None where nothing does for minutes."""
        now = time.monotonic()
        name = min(self._seen, key=lambda one: self._seen[one][1], default=None)
        return None if name is None or now - self._seen[name][1] < _QUIET else self._standing(name)

    def _standing(self, name: str) -> str:
        by = holder(self._directory / name)
        return f"{name} stands still for {time.monotonic() - self._seen[name][1]:.0f} s{by and f', on {by}'}"

    def release(self, name: str) -> None:
        """Its receipt is written, or it is left to others."""
        file = self._held.pop(name)
        if file is None:
            (self._directory / f"{name}.claim").unlink(missing_ok=True)
        else:
            file.close()  # the file stays: who has it open already would lock one that is no longer there

    def beat(self) -> None:
        """To be called often: the sign of life where there are no locks."""
        if time.monotonic() - self._touched > _TOUCH:
            self._touched = time.monotonic()
            for name, file in self._held.items():
                if file is None:
                    with suppress(FileNotFoundError):
                        os.utime(self._directory / f"{name}.claim")

    def _take_without_locks(self, name: str) -> bool:
        path = self._directory / f"{name}.claim"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if not self._is_dead(name, path, _DEAD):
                return False
            os.utime(path)
        self._held[name] = None
        return True

    def _is_dead(self, name: str, path: Path, after: float) -> bool:
        """It has not been touched for so many seconds of this process's own clock: clocks of nodes differ."""
        try:
            touched = path.stat().st_mtime_ns
        except OSError:
            return False  # it was given up this moment, or cannot be seen now; the next look will
        now = time.monotonic()
        known, since = self._seen.get(name, (None, now))
        if known != touched:
            self._seen[name] = (touched, now)
            return False
        return now - since > after


def touch(directory: Path, name: str) -> None:
    """The shard goes on: to be called by who makes it, every 15 s or so."""
    with suppress(OSError):
        os.utime(directory / name)


def holder(path: Path) -> str:
    """Who has a file locked; empty where that is not told."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def try_lock(path: Path) -> IO[bytes] | None:
    """The file, locked, which says who has it; None where another process that lives has it.

    Raises:
        OSError: the file system has no locks.
    """
    file = open(path, "a+b")  # noqa: SIM115  # NFS wants writing for an exclusive lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        file.close()
        if isinstance(e, BlockingIOError):
            return None
        raise
    with suppress(OSError):  # a full disk: whose it is stays unsaid
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"{socket.gethostname()}, process {os.getpid()}\n".encode())
    return file


class Queue:
    """The shards that are still to be made, in the order in which this process takes them.

    Each node begins with other shards than the others, the largest first, and goes on with what they have left.
    """

    def __init__(
        self, items: Sequence[Item], claims: Claims | None, is_done: Callable[[Item], bool], rank: int, world: int
    ) -> None:
        """Without `claims` this process is alone."""
        order = sorted(items, key=lambda item: (-item[0].size, item[0].name))
        first = order[rank::world]
        names = {shard.name for shard, _ in first}
        self._open = deque([*first, *(item for item in order if item[0].name not in names)])
        self._claims, self._is_done = claims, is_done

    @property
    def left(self) -> int:
        """Shards that are not done, as far as was seen; some of them are being made by others."""
        return len(self._open)

    @property
    def ahead(self) -> int:
        """Shards to have ready beyond those that are being made: none that another node could make meanwhile."""
        return 1 if self._claims is None else 0

    def take(self) -> Item | None:
        """A shard that is this process's now; None where all that are left are being made."""
        for _ in range(len(self._open)):
            item = self._open.popleft()
            if self._claims is None:
                return item
            if self._is_done(item):
                self._claims.forget(item[0].name)
                continue
            if not self._claims.take(item[0].name):
                self._open.append(item)
            elif self._is_done(item):  # between the two looks
                self._claims.release(item[0].name)
            else:
                return item
        return None

    def done(self, item: Item) -> None:
        """The shard has its receipt."""
        if self._claims is not None:
            self._claims.release(item[0].name)

    def is_made(self, item: Item) -> bool:
        """Whether another process has made a shard that was taken here."""
        return self._claims is not None and self._is_done(item)

    def standing(self) -> str | None:
        """See Claims.standing."""
        return None if self._claims is None else self._claims.standing()

    def beat(self) -> None:
        """See Claims.beat."""
        if self._claims is not None:
            self._claims.beat()
