"""Is the training hung, where nobody has said how long it may be silent (stall = "auto")? Told from the run itself.

What resets the clock is the same as in stall.py, and a new phase that the ranks tell, and their pulse within one.

While steps are taken, hung is 10 minutes without any, 20 of the run's median steps and 3 of its slowest, whichever is
longest. It is an hour at least while a phase is told (validation, saving), in a script that tells none, before four
steps were seen, and while processes of this node transfer data or wait for a file system. CPU time does not count then:
a rank that waits in a collective spins.

Before the first step hung is an hour in which nothing was logged or told and no process computed, transferred data or
waited for a file system; six hours where they did nothing but compute, since a collective that hangs spins as well. A
script of another kind than AutoModel's need not be one that takes steps: it is never hung before its first one.
"""

from __future__ import annotations

from collections import deque
from typing import Callable

from .activity import Activity, Sample
from .phases import Phase
from .stall import LONGEST_PAUSE_S, STEPS_REMEMBERED, Hung, Progress, SaveWatch, median

LEAST_S = 600.0
LONG_S = 3600.0
COMPUTING_S = 6 * 3600.0
_TIMES_MEDIAN = 20
_TIMES_SLOWEST = 3
_STEPS_NEEDED = 3  # durations; the first steps of a run are slow
_LOOK_AFTER_S = 60.0
_LOOK_EVERY_S = 10.0


class AutoStall:
    """Contract: as Stall's. `others_work`: whether another node's processes do; asked only at the limit."""

    def __init__(self, from_start: bool, activity: Activity, others_work: Callable[[], bool]) -> None:
        self._from_start = from_start
        self._activity = activity
        self._others_work = others_work
        self.phase: Phase | None = None
        self._mark: object = None
        self._idle = 0.0  # since progress
        self._still = 0.0  # since progress, a transfer or a wait for a file system
        self._quiet = 0.0  # since any of these or computing
        self._checked_at: float | None = None
        self._looked_at: float | None = None
        self._saves = SaveWatch(_LOOK_EVERY_S)
        self._steps = 0
        self._steps_before = 0
        self._step_at: float | None = None
        self._pure = True  # since the last step there was nothing but the next one
        self._durations: deque[float] = deque(maxlen=STEPS_REMEMBERED)
        self._longest_other = 0.0
        self._others = 0  # of Progress, at the last step

    def restarted(self, progress: Progress) -> None:
        """The ranks were started again: what counts now is as it was before the first step."""
        self._steps_before, self._step_at = progress.steps, None
        self._idle = self._still = self._quiet = 0.0

    def check(self, progress: Progress, now: float) -> Hung | None:
        """What is known of the hang, None while there is none."""
        passed = min(now - self._checked_at, LONGEST_PAUSE_S) if self._checked_at is not None else 0.0
        self._checked_at = now
        self._idle, self._still, self._quiet = self._idle + passed, self._still + passed, self._quiet + passed
        self._note_steps(progress, now)
        before_first = progress.steps == self._steps_before
        told = (self.phase.text, self.phase.since, self.phase.mark) if self.phase else None
        seen = (progress.steps, progress.others, self._saves.look(progress, now))
        mark = (told, progress.log_bytes if before_first else seen)
        if mark != self._mark:
            self._mark = mark
            self._idle = self._still = self._quiet = 0.0
            return None
        if self._idle >= _LOOK_AFTER_S:
            self._look(now)
        return self._judge(before_first)

    def _judge(self, before_first: bool) -> Hung | None:
        if before_first:
            hung = self._from_start and (self._quiet >= LONG_S or self._still >= COMPUTING_S)
            if hung and self._still < COMPUTING_S and self._others_work():
                self._quiet, hung = 0.0, False
        else:
            limit = self._limit_s()
            hung = self._still >= limit or self._idle >= max(limit, LONG_S)
        step_s = median(self._durations) if self._durations else None
        return Hung(self._idle, step_s) if hung else None

    def _limit_s(self) -> float:
        usual = _TIMES_MEDIAN * median(self._durations) if self._durations else 0.0
        slowest = _TIMES_SLOWEST * max(self._durations) if self._durations else 0.0
        stepping = self.phase is not None and self.phase.text is None
        if stepping and len(self._durations) >= _STEPS_NEEDED:
            return max(LEAST_S, usual, slowest)
        return max(LONG_S, usual, slowest, _TIMES_SLOWEST * self._longest_other)

    def _note_steps(self, progress: Progress, now: float) -> None:
        self._pure = self._pure and not (self.phase is not None and self.phase.text is not None)
        new = progress.steps - self._steps
        if new == 0:
            return
        if self._step_at is not None:
            took = (now - self._step_at) / new  # several lines may arrive between two looks
            if self._pure and progress.others == self._others:
                self._durations.extend([took] * min(new, STEPS_REMEMBERED))
            else:
                self._longest_other = max(self._longest_other, now - self._step_at)
        self._steps, self._step_at, self._pure, self._others = progress.steps, now, True, progress.others

    def _look(self, now: float) -> None:
        if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        sample: Sample = self._activity.look(now)
        if sample.transfers or sample.waits:
            self._still = self._quiet = 0.0
        elif sample.computes:
            self._quiet = 0.0
