"""Which rank is slow, again and again: two steps out of many are measured on all ranks (profiler.py), without a trace.

LAUNCH_RANK_TIMES tells how many steps lie between two samples. What each rank has measured goes to rank 0 by the
message with which all ranks ask each other for signals (requests.py), and from there into JOB_DIR/rank-times.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contract

from .output import is_main

BIT = 8  # of the message
STEPS = 2
_ALL = 1024  # ranks whose times are all written down; of more, the slowest
_SLOWEST = 8
_MOST = 2**31 - 1  # as the message holds it, of microseconds

Gather = Callable[[int], list[int]]


class Samples:
    """One training's; nothing where the variable is not set."""

    def __init__(self, job_dir: str) -> None:
        self._path = Path(job_dir, contract.RANK_TIMES)
        given = os.environ.get(contract.RANK_TIMES_VAR, "")
        self._every = int(given) if given.isdecimal() else 0
        self._next: int | None = None
        self._mine: int | None = None  # microseconds; below 0 where it could not be measured
        self._step_s: float | None = None

    def due(self, step: int | None) -> bool:
        """Whether it is time for one, after this step; the first one comes as many steps after the training's first."""
        if not self._every or step is None:
            return False
        if self._next is None or step >= self._next:
            is_first, self._next = self._next is None, step + self._every
            return not is_first
        return False

    def measured(self, record: dict[str, Any]) -> None:
        """What this rank has measured, an object of contract.PROFILE_RANK_KEYS."""
        each = record.get("outside_s")
        self._mine = min(int(statistics.fmean(each) * 1e6), _MOST) if each else -1
        self._step_s = record.get("step_s")

    def wish(self) -> int:
        """BIT where there is something to share."""
        return 0 if self._mine is None else BIT

    def share(self, gather: Gather, step: int) -> None:
        """All ranks call it together; rank 0 writes it down."""
        found, self._mine = gather(-1 if self._mine is None else self._mine), None
        told = {rank: number / 1e6 for rank, number in enumerate(found) if number >= 0}
        if not is_main() or not told or self._step_s is None:
            return
        slow = sorted(told, key=lambda rank: -told[rank])[:_SLOWEST]
        others = [told[rank] for rank in told if rank != slow[0]] or [told[slow[0]]]
        values = (time.time(), step, self._step_s, statistics.median(others))
        ranks = [[rank, told[rank]] for rank in (slow if len(told) > _ALL else told)]
        line = json.dumps(dict(zip(contract.RANK_TIME_KEYS, (*values, ranks), strict=True)))
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
