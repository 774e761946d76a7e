"""torch's profiler in a training that runs: for some steps of some ranks, when JOB_DIR/request-profile asks for it.

Rank 0 looks for it once a second, and tells the others in the message by which all ranks ask each other for signals
(requests.py): first a bit, then the steps and ranks, a number a message. So nobody else reads the file, and all profile
the same steps. Nothing here ends the training, or is a collective of its own; profiler.py does the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import contract

from .output import is_main, say
from .profiler import Profiler
from .rank_times import BIT as TIMES_BIT
from .rank_times import STEPS, Samples

BIT = 4  # of the message
MOST_RANKS = 256  # that are named one by one
_LOOK_EVERY_S = 1.0
_NOTHING, _WITHDRAWN = -1, -2  # in place of the first step
_TRACE, _SAMPLE = 1, 2  # kinds of profiles

Gather = Callable[[int], list[int]]
Number = Callable[[], int]


@dataclass(frozen=True)
class Window:
    """`steps` steps from `first` on; `ranks`: none for all of them. `copy`: how often the run has had these before."""

    first: int
    steps: int
    trace: bool
    ranks: tuple[int, ...]
    copy: int = 0
    sample: bool = False

    @property
    def last(self) -> int:
        """The last one of them."""
        return self.first + self.steps - 1


class Profiles:
    """One training's. `begins` and `ended` are called around each step, on every rank; `end` is the number of steps."""

    def __init__(self, job_dir: str, end: Number) -> None:
        self._job_dir = Path(job_dir)
        self._end = end
        self._looked = 0.0
        self._id = (self._asked() or {}).get("id")
        self._news: dict[str, Any] | None = None  # what rank 0 has to tell; an empty one withdraws
        self._taken: dict[str, Any] = {}  # the request that waits, on rank 0
        self._window: Window | None = None
        self._profiler: Profiler | None = None
        self._samples = Samples(job_dir)
        self._step: int | None = None
        self._rank = int(os.environ.get("RANK", "0"))

    def hear(self) -> None:
        """Tell that requests are heard."""
        self._answer({}, contract.PROFILER)

    def wish(self) -> int:
        """BIT where this is rank 0 and somebody has asked, or asks no longer; it looks once a second at most."""
        now = time.monotonic()
        if is_main() and self._news is None and now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._look(self._asked())
        if is_main() and self._news is None and self._window is None and self._samples.due(self._step):
            self._news = {"first": None, "steps": STEPS, "ranks": None, "trace": False, "sample": True}
        return (BIT if self._news is not None else 0) | self._samples.wish()

    def _look(self, asked: dict[str, Any] | None) -> None:
        """The file is the one request: who removes it, or puts another in its place, withdraws it."""
        window = self._window
        waits = window is not None and not window.sample and (self._step is None or self._step < window.first - 2)
        if asked is None and waits:
            self._news = {}
        elif asked and asked["id"] != self._id and not (window and window.sample):
            if window is not None and not waits:
                self._refuse(asked, f"{named(window)} are being profiled now; ask again when that is written")
            else:
                self._news = asked
            self._id = asked["id"]

    def agree(self, found: list[int], gather: Gather, step: int) -> None:
        """All ranks call it with the same `found`, the messages of all; `step` is the one that is over."""
        if any(bits & TIMES_BIT for bits in found):
            self._samples.share(gather, step)
        if not any(bits & BIT for bits in found):
            return
        teller = next(number for number, bits in enumerate(found) if bits & BIT)
        mine = self._decided(step) if self._news is not None else ()
        first, steps, kind, copy, count = (gather(mine[i] if mine else 0)[teller] for i in range(5))
        ranks = tuple(gather(mine[5 + i] if mine else 0)[teller] for i in range(count))
        if first == _WITHDRAWN:
            self._window = None
        elif first != _NOTHING:
            self._window = Window(first, steps, kind == _TRACE, ranks, copy, kind == _SAMPLE)

    def _decided(self, step: int) -> tuple[int, ...]:
        """On rank 0: first step, their number, what kind of profile, `copy`, number of ranks, ranks."""
        asked, self._news = self._news, None
        nothing = _NOTHING
        if self._window is not None:
            say("the profile that was asked for is withdrawn")
            self._refuse(self._taken, f"it was withdrawn: {self._job_dir / contract.PROFILE_REQUEST} has changed")
            nothing = _WITHDRAWN
        if not asked:
            return nothing, 0, 0, 0, 0
        try:
            window = _window(asked, step, self._end())
            while self._folder(window).exists():  # of an attempt before this one
                window = replace(window, copy=window.copy + 1)
        except ValueError as error:
            if not asked.get("sample"):  # near the end there is none
                self._refuse(asked, str(error))
            return nothing, 0, 0, 0, 0
        if asked.get("sample"):
            return window.first, window.steps, _SAMPLE, 0, 0
        told = {**asked, "first": window.first, "folder": str(self._folder(window))}
        self._answer(told, f"{contract.PROFILER}-{asked['id']}")
        self._taken = asked
        say(f"profiling {named(window)} of {_ranks(window)}")
        return window.first, window.steps, _TRACE if window.trace else 0, window.copy, len(window.ranks), *window.ranks

    def begins(self, step: int) -> None:
        """A step begins. One before the first of a profile warms the profiler up, where there is time for that."""
        window = self._window
        if window is None or (window.ranks and self._rank not in window.ranks) or step < window.first - 1:
            return
        if self._profiler is None:
            self._profiler = Profiler(self._folder(window), self._rank, window.trace)
        if step >= window.first:
            self._profiler.begins(step)

    def ended(self, step: int) -> None:
        """It is over, also on the GPU."""
        self._step = step
        if self._profiler is not None:
            self._profiler.ended()
        if self._window is not None and step >= self._window.last:
            self._finish("")

    def close(self) -> None:
        """The training has ended, and may have done so before the last step of a profile."""
        if self._window is None:
            return
        if self._profiler is None and (not self._window.ranks or self._rank in self._window.ranks):
            self._profiler = Profiler(self._folder(self._window), self._rank, False)
        self._finish("the training has ended before")

    def _finish(self, early: str) -> None:
        window, profiler = self._window, self._profiler
        self._window = self._profiler = None
        if profiler is not None and window is not None and window.sample:
            self._samples.measured(profiler.measure())
        elif profiler is not None:
            profiler.finish(early)

    def _folder(self, window: Window) -> Path:
        name = f"steps-{window.first}-{window.last}" + (f".{window.copy + 1}" if window.copy else "")
        return self._job_dir / contract.PROFILES / name

    def _refuse(self, asked: dict[str, Any], why: str) -> None:
        self._answer({**asked, "error": why}, f"{contract.PROFILER}-{asked['id']}")

    def _answer(self, told: dict[str, Any], who: str) -> None:
        if not is_main():
            return
        content = dict.fromkeys(contract.PROFILE_ANSWER_KEYS)
        content |= {**told, "time": time.time(), "what": contract.PROFILE}
        path = self._job_dir / contract.ANSWERS / f"{who}.json"
        with contextlib.suppress(OSError):  # a full disk must not end the training
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(content), encoding="utf-8")
            partial.replace(path)

    def _asked(self) -> dict[str, Any] | None:
        """The request, None where there is no such file; empty where it cannot be understood, or not now."""
        try:
            asked = json.loads((self._job_dir / contract.PROFILE_REQUEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):  # while it is being written, or its file server is away
            return {}
        number = asked.get("id") if isinstance(asked, dict) else None
        return asked if isinstance(number, str) and re.fullmatch(r"[\w-]{1,64}", number) else {}


def named(window: Window) -> str:
    """Its steps, for people."""
    return f"step {window.first}" if window.steps == 1 else f"steps {window.first} to {window.last}"


def _ranks(window: Window) -> str:
    if not window.ranks:
        return "all ranks"
    return f"rank{'s' if len(window.ranks) > 1 else ''} {', '.join(map(str, window.ranks))}"


def _window(asked: dict[str, Any], step: int, end: int) -> Window:
    """What is asked for, where `step` is over and there are `end` of them.

    Raises:
        ValueError: it cannot be done; the text says why.
    """
    first, steps, ranks = asked.get("first"), asked.get("steps"), asked.get("ranks") or []
    known = isinstance(ranks, list) and all(map(_is_count, [0 if first is None else first, steps, *ranks]))
    if not known or not steps or len(ranks) > MOST_RANKS:
        raise ValueError("the request cannot be read; it is of another version of the launcher")
    if first is None:
        first = step + (2 if step + 1 + steps < end else 1)  # one to warm up, if there is one left
    world = int(os.environ.get("WORLD_SIZE", "1"))
    window = Window(first, steps, asked.get("trace") is not False, tuple(ranks))
    if first <= step:
        raise ValueError(f"step {first} is past: the training has done step {step}")
    if window.last >= end:
        raise ValueError(f"step {window.last} is beyond the end: the last one is {end - 1}")
    if any(rank >= world for rank in ranks):
        raise ValueError(f"there is no rank {max(ranks)}; ranks: 0 to {world - 1}")
    return window


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31  # as the message holds it
