"""The end of an attempt's time: when the ranks have to save so that the save ends before that.

Clocks of nodes are wrong, and are put right while jobs run. So `begin` asks Slurm once how many seconds are left, by
the controller's clock alone, and from then on a clock counts that nobody sets: CLOCK_MONOTONIC, which all processes of
a machine share. An agent on another machine than the batch script has the time of day to go by, once, when it starts.
"""

from __future__ import annotations

import time
from typing import Callable, Mapping

import contract

from .stall import Progress

_SAVES = 2.0  # a save may take longer than the longest so far: the file system's load is not ours alone
_MARGIN_S = 15.0  # for the step that is under way, and for the processes to end
_SHARE = 0.25  # of the job's time, at most: a short job has to train as well
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """Which machine's monotonic clock this one is, since which start of it; "" where that cannot be told."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def exports(left_s: float, since: float, of_budget: bool) -> list[str]:
    """Shell lines for the agents: the time ends `left_s` seconds after `since`, an instant of the monotonic clock.

    `of_budget`: it is max_gpu_hours that is used up then, before Slurm's time limit.
    """
    end = since + left_s
    lines = [
        f"export {contract.END_TIME_VAR}={time.time() + end - time.monotonic():.0f}",
        f"export {contract.END_MONOTONIC_VAR}={boot_id()}:{end:.1f}",
    ]
    return [*lines, f"export {contract.END_OF_BUDGET_VAR}=1"] if of_budget else lines


class TimeLimit:
    """Contract: made when the attempt begins, from the variables that `begin` has set."""

    def __init__(
        self,
        environ: Mapping[str, str],
        default_s: float,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self._clock = clock
        self._end = _end(environ, clock(), time_of_day(), boot_id() if boot is None else boot)
        self._save_s = _number(environ.get(contract.SAVE_S_VAR))
        self._default_s = default_s
        self._most_s = max(0.0, _SHARE * (self._end - clock())) if self._end is not None else 0.0
        self.reason = (
            contract.STOP_BY_BUDGET if environ.get(contract.END_OF_BUDGET_VAR) else contract.STOP_BY_TIME_LIMIT
        )

    def is_near(self, progress: Progress | None) -> bool:
        """Whether the ranks have to be asked to save now."""
        return self._end is not None and self._clock() >= self._end - self.lead_s(progress)

    def lead_s(self, progress: Progress | None) -> float:
        """Seconds before the end at which the ranks are asked to save.

        Twice the longest save that was seen, by this attempt or one before it, and a margin; the profile's stop_grace
        while none was seen.
        """
        seen = [s for s in (self._save_s, progress.save_s if progress else None) if s is not None]
        wanted = _SAVES * max(seen) + _MARGIN_S if seen else self._default_s
        return min(wanted, self._most_s)


def _end(environ: Mapping[str, str], now: float, time_of_day: float, boot: str) -> float | None:
    """The end on this machine's monotonic clock, None where there is none."""
    whose, _, end = environ.get(contract.END_MONOTONIC_VAR, "").rpartition(":")
    if boot and whose == boot and _number(end) is not None:
        return _number(end)
    end_of_day = _number(environ.get(contract.END_TIME_VAR))
    return None if end_of_day is None else now + end_of_day - time_of_day


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
