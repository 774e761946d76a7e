"""Is the training hung? Told from rank 0's log, so on node 0 only; peers.py passes it on to the other nodes.

This is for a `stall` in seconds; auto_stall.py is for the default. Hung means: no step line, no validation line and no
growing checkpoint for the profile's `stall`, and for ten times this run's own median step where that is longer. Before
the first step, while models load, indexes are built and kernels are compiled, and again after ranks were restarted
(ft_launcher), it means that rank 0 has written nothing at all for ten times `stall`, one hour at least; and nothing for
a script without torchrun, which need not be one that takes steps.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import Iterable

_TIMES_MEDIAN = 10
_TIMES_BEFORE_FIRST = 10
_LEAST_BEFORE_FIRST_S = 3600.0
STEPS_REMEMBERED = 101
LONGEST_PAUSE_S = 5.0  # a job that was suspended (preemption, scontrol suspend) was not hung meanwhile
_SAVE_EVERY_S = 10.0


@dataclass
class Progress:
    """What rank 0's log has shown since the training was started."""

    steps: int = 0
    others: int = 0  # validations, and saves that have begun
    log_bytes: int = 0
    saving: str | None = None  # the checkpoint whose save was the last to begin
    save_s: float | None = None  # the longest save so far, with the step after it
    nan_steps: int = 0  # steps in a row, up to the last one, whose loss is not a number


@dataclass
class Hung:
    """What is known of a hang."""

    idle_s: float
    step_s: float | None  # the median step, None before there were two


def median(values: Iterable[float]) -> float:
    """Of at least one value."""
    import statistics  # a job that ends before its second step does without

    return statistics.median(values)


class Stall:
    """Contract: `check` is called often, every second or so, with a clock that never goes back."""

    def __init__(self, limit_s: float, from_start: bool) -> None:
        self._limit = limit_s
        self._from_start = from_start
        self._mark: object = None
        self._idle = 0.0
        self._checked_at: float | None = None
        self._saves = SaveWatch(min(_SAVE_EVERY_S, limit_s / 4))
        self._steps = 0
        self._steps_before = 0  # of the ranks that were there before a restart
        self._step_at: float | None = None
        self._durations: deque[float] = deque(maxlen=STEPS_REMEMBERED)

    def restarted(self, progress: Progress) -> None:
        """The ranks were started again: what counts now is as it was before the first step."""
        self._steps_before, self._step_at, self._idle = progress.steps, None, 0.0

    def check(self, progress: Progress, now: float) -> Hung | None:
        """What is known of the hang, None while there is none."""
        self._idle += min(now - self._checked_at, LONGEST_PAUSE_S) if self._checked_at is not None else 0.0
        self._checked_at = now
        self._note_steps(progress.steps, now)
        before_first = progress.steps == self._steps_before
        mark = (
            progress.log_bytes if before_first else (progress.steps, progress.others, self._saves.look(progress, now))
        )
        if mark != self._mark:
            self._mark, self._idle = mark, 0.0
            return None
        step_s = median(self._durations) if self._durations else None
        if self._idle < self._limit_now(before_first, step_s):
            return None
        return Hung(self._idle, step_s)

    def _limit_now(self, before_first: bool, step_s: float | None) -> float:
        if not before_first:
            return max(self._limit, _TIMES_MEDIAN * (step_s or 0.0))
        if not self._from_start:
            return float("inf")
        return before_first_s(self._limit)

    def _note_steps(self, steps: int, now: float) -> None:
        new = steps - self._steps
        if new == 0:
            return
        if self._step_at is not None:  # several lines may arrive between two looks
            self._durations.extend([(now - self._step_at) / new] * min(new, STEPS_REMEMBERED))
        self._steps, self._step_at = steps, now


class SaveWatch:
    """Does a checkpoint grow? The file system is asked now and then."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._looked_at = 0.0
        self._found: object = None

    def look(self, progress: Progress, now: float) -> object:
        """Changes while a checkpoint is being written."""
        if progress.saving is not None and now - self._looked_at >= self._every_s:
            self._looked_at = now
            self._found = _written(progress.saving)
        return self._found


def before_first_s(limit_s: float) -> float:
    """The limit before the first step, for a `stall` of `limit_s`."""
    return max(_TIMES_BEFORE_FIRST * limit_s, _LEAST_BEFORE_FIRST_S)


def _written(checkpoint: str) -> tuple[int, int, int]:
    """The number of files below the directory, of the bytes in them, and when the last of them was written.

    A save that was cut short is written anew over the files of the one before, which need not grow then.
    """
    files = size = last = 0
    for directory, _, names in os.walk(checkpoint):
        for name in names:
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:  # renamed while it was looked at
                continue
            files += 1
            size += status.st_size
            last = max(last, status.st_mtime_ns)
    return files, size, last
