"""Which process makes a shard: it is claimed, and a claim lasts as long as the process that holds it.

A claim is a lock on a file of the shared file system. The kernel gives it up when its holder dies, and others then take
the shard; there is no static share. Where there are no locks, a claim is a file that is made once (O_EXCL) and touched
while its holder lives; one that has not been touched for a while is taken over. Two that make one shard all the same
(locks that only one node sees) write the same bytes under the same names: time is lost, nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
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

Item = tuple[Shard, str]


class Claims:
    """The claims of this process, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, IO[bytes] | None] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._touched = time.monotonic()

    def take(self, name: str) -> bool:
        """False where another process that lives has it."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115  # NFS wants writing for an exclusive lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as e:
            file.close()
            if e.errno not in NO_LOCKS:
                raise
            return self._take_without_locks(name)
        self._held[name] = file
        return True

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
            if not self._is_dead(name, path):
                return False
            os.utime(path)
        self._held[name] = None
        return True

    def _is_dead(self, name: str, path: Path) -> bool:
        """It has not been touched for a while of this process's own clock: clocks of nodes differ."""
        try:
            touched = path.stat().st_mtime_ns
        except FileNotFoundError:
            return False  # it was given up this moment; the next look will see
        now = time.monotonic()
        known, since = self._seen.get(name, (None, now))
        if known != touched:
            self._seen[name] = (touched, now)
            return False
        return now - since > _DEAD


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

    def beat(self) -> None:
        """See Claims.beat."""
        if self._claims is not None:
            self._claims.beat()
