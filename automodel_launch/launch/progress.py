"""The live line: step, loss, tokens a second, time left; from the job's metrics.jsonl. Before: what it is at."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from automodel_launch.jobs.records import is_number

WINDOW = 20  # steps whose pace tells the time left; a longer one would hold the slow first steps for too long


@dataclass
class Progress:
    """Steps seen so far. `max_steps` is the number of optimizer steps of the whole run, where the config says it."""

    max_steps: int | None
    begun: float = field(default_factory=time.time)
    steps: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    phase: str | None = None  # what the job is at before its first step
    phase_since: float | None = None  # by time.monotonic() here

    def note_phase(self, found: tuple[str, float | None] | None) -> None:
        """What the job's directory tells now. Its heartbeat is slow: within a phase the clock here goes on."""
        phase, seconds = found or (None, None)
        if phase != self.phase:
            self.phase, self.phase_since = phase, time.monotonic() - (seconds or 0.0)

    def add(self, line: str) -> None:
        """Take one line of metrics.jsonl; other records than training steps are left aside."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(record, dict) and "loss" in record and isinstance(record.get("step"), int):
            self.steps.append(record)

    def line(self) -> str:
        """One line of text for a terminal."""
        if not self.steps:
            return waiting(self.phase, self._waited())
        last = self.steps[-1]
        done = last["step"] + 1  # steps count from 0
        loss = "nan" if last.get("loss") is None else f"{last['loss']:.4f}"
        rate = f"  {last['tps']:,.0f} tokens/s" if last.get("tps") else ""  # a plain script need not say it
        total = f"/{self.max_steps}" if self.max_steps else ""
        return f"step {done}{total}  loss {loss}{rate}{self._left(done)}"

    def _waited(self) -> float:
        begun = time.time() - self.begun
        return time.monotonic() - self.phase_since if self.phase and self.phase_since is not None else begun

    def _left(self, done: int) -> str:
        pace = step_seconds(self.steps)
        return f"  {clock(pace * max(0, self.max_steps - done))} left" if self.max_steps and pace is not None else ""


def step_seconds(steps: Sequence[dict[str, Any]]) -> float | None:
    """Seconds of a step at the pace of these; None where they do not tell it."""
    first, last = (steps[0], steps[-1]) if steps else ({}, {})
    passed = last.get("step", 0) - first.get("step", 0)
    if passed <= 0 or not is_number(first.get("time")) or not is_number(last.get("time")):
        return None
    pace: float = (last["time"] - first["time"]) / passed
    return pace if pace >= 0 else None


def clock(seconds: float) -> str:
    """`0:01:12`"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def waiting(phase: str | None, seconds: float | None) -> str:
    """`waiting for the first step: compiling the data helper, 34 s`"""
    took = f", {seconds:.0f} s" if seconds is not None else ""
    return f"waiting for the first step: {phase}{took}" if phase else f"waiting for the first step{took}"
