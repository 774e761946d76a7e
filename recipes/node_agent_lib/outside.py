"""Has anybody left something in the job's or the run's directory? One `stat` instead of a look at each file.

Stop files, the chain's line and the marks of other nodes are made or replaced there, which changes the directory's
time. A thousand agents that look for five absent files every two seconds are most of what a file system gets to do.
"""

from __future__ import annotations

import os
import time
from typing import Callable

FEW_NODES = 4
_FEW_EVERY_S, _MANY_EVERY_S = 2.0, 8.0
_RUN_DIR_EVERY_S = 8.0  # a person's own stop file; `pause` leaves one in the job's directory too
_LOOK_ALL_THE_SAME_S = 120.0  # some file systems (FUSE) do not keep a directory's time
_COARSE_S = 4.0  # others keep it in steps of up to 2 s: a second change within one step does not show


def every_s(nnodes: int) -> float:
    """Seconds between two looks of an agent of so many nodes."""
    return _FEW_EVERY_S if nnodes <= FEW_NODES else _MANY_EVERY_S


class Outside:
    """Contract: `changed` is called often; it asks the file system when it is time to."""

    def __init__(self, job_dir: str, run_dir: str, nnodes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        every = every_s(nnodes)
        self._places = [_Place(job_dir, every), _Place(run_dir, max(every, _RUN_DIR_EVERY_S))]
        self._all_at = 0.0

    def changed(self) -> bool:
        """Whether the files are to be looked at now; True the first time."""
        now = self._clock()
        found = [place.changed(now) for place in self._places]  # each of them, so no `or`
        if not any(found) and now < self._all_at:
            return False
        self._all_at = now + _LOOK_ALL_THE_SAME_S
        return True


class _Place:
    def __init__(self, path: str, every_s: float) -> None:
        self._path = path
        self._every_s = every_s
        self._next = self._settled_at = 0.0
        self._seen: int | None = None

    def changed(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + self._every_s
        try:
            seen = os.stat(self._path).st_mtime_ns
        except OSError:
            seen = -1
        if seen != self._seen:
            self._seen, self._settled_at = seen, now + max(_COARSE_S, self._every_s)
            return True
        return now <= self._settled_at
