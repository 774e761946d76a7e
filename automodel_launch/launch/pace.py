"""How often a scheduler is asked about a job that is followed: the job's own files tell of most changes.

Slurm's controller serves everybody. A job that somebody follows for a day would ask it 43,200 times at two seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from automodel_launch.jobs.records import Status

SHARE = 0.05  # of the time for which nothing has changed
SLOWEST_S = 30.0


class Pace:
    """When to ask again: at `quickest_s` at first, then at 5 % of the time since the last change, 30 s at most."""

    def __init__(self, quickest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quickest_s = quickest_s
        self._clock = clock
        self._changed = clock()
        self._next = 0.0
        self._seen: tuple[object, ...] = ()

    @property
    def due(self) -> bool:
        """Whether it is time to ask."""
        return self.left_s <= 0

    @property
    def left_s(self) -> float:
        """Seconds until then."""
        return max(0.0, self._next - self._clock())

    def note(self, status: Status) -> None:
        """What was answered now."""
        self.saw((status.state, status.node, status.over, status.forgotten, status.started))

    def saw(self, seen: tuple[object, ...]) -> None:
        """The same of what is not one status: what of the answers would be a change."""
        now = self._clock()
        if seen != self._seen:
            self._seen, self._changed = seen, now
        self._next = now + min(max(self._quickest_s, SHARE * (now - self._changed)), SLOWEST_S)

    def hurry(self) -> None:
        """The job's files tell of something new: ask at the next look, and often for a while."""
        self._changed, self._next = self._clock(), 0.0
