"""The job's time limit: when the ranks have to save so that the save ends before Slurm ends the job."""

from __future__ import annotations

from typing import Mapping

import contract

from .stall import Progress

_SAVES = 2.0  # a save may take longer than the longest so far: the file system's load is not ours alone
_MARGIN_S = 15.0  # for the step that is under way, and for the processes to end
_SHARE = 0.25  # of the job's time, at most: a short job has to train as well


class TimeLimit:
    """Contract: made when the attempt begins. LAUNCH_END_TIME is in unix seconds, LAUNCH_SAVE_S in seconds."""

    def __init__(self, environ: Mapping[str, str], default_s: float, now: float) -> None:
        self._end = _number(environ.get(contract.END_TIME_VAR))
        self._save_s = _number(environ.get(contract.SAVE_S_VAR))
        self._default_s = default_s
        self._most_s = _SHARE * (self._end - now) if self._end is not None else 0.0

    def is_near(self, progress: Progress | None, now: float) -> bool:
        """Whether the ranks have to be asked to save now."""
        return self._end is not None and now >= self._end - self.lead_s(progress)

    def lead_s(self, progress: Progress | None) -> float:
        """Seconds before the end at which the ranks are asked to save.

        Twice the longest save that was seen, by this attempt or one before it, and a margin; the profile's stop_grace
        while none was seen.
        """
        seen = [s for s in (self._save_s, progress.save_s if progress else None) if s is not None]
        wanted = _SAVES * max(seen) + _MARGIN_S if seen else self._default_s
        return min(wanted, self._most_s)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
