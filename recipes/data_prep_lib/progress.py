"""How far the work is: one updating line on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

_PIPE_SECONDS = 5.0
_ALL_SECONDS = 15.0  # a listing of a directory on the shared file system
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(number: float) -> str:
    """1234567 -> 1.23M"""
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def room(size: int) -> str:
    """1234567 bytes -> 1.2 MB; below a megabyte in kB, so that no small disk has 0.00 GB"""
    for unit, name, digits in ((10**9, "GB", 2), (10**6, "MB", 1)):
        if size >= unit:
            return f"{size / unit:.{digits}f} {name}"
    return f"{-(-size // 1000)} kB"


def duration(seconds: float) -> str:
    """75 -> 1:15, 3675 -> 1:01:15"""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Progress:
    """`total` is the size in bytes of the input still to be read; None where a sample ends the work earlier."""

    def __init__(self, out: TextIO, total: int | None, shards: int) -> None:
        self._out, self._total, self._shards = out, total, shards
        self._live = out.isatty()
        self._start = self._next = time.monotonic()
        self._next += _PIPE_SECONDS
        self.counters: Mapping[str, int] = {}
        self._of_all: tuple[Callable[[], int], int] | None = None
        self._all_done, self._looked = 0, float("-inf")

    def of_all(self, done: Callable[[], int], shards: int) -> None:
        """Tell, too, how many of all `shards` are done by whoever works on them; `done` is asked now and then."""
        self._of_all = done, shards

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def tick(self, counters: Mapping[str, int], done: int) -> None:
        self.counters = counters
        if self._live:
            self._out.write("\r\x1b[K" + self.line(counters, done))
            self._out.flush()
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _PIPE_SECONDS
            print(self.line(counters, done), file=self._out, flush=True)

    def line(self, counters: Mapping[str, int], done: int) -> str:
        seconds = max(self.seconds, 1e-9)
        parts = [
            f"{done}/{self._shards} shards",
            f"{short(counters['documents'])} documents",
            f"{short(counters['tokens'] / seconds)} tokens/s",
            f"{counters['bytes'] / 1e6 / seconds:.1f} MB/s",
        ]
        if self._total and counters["input"]:
            left = seconds * (self._total - counters["input"]) / counters["input"]
            parts.append(f"{duration(max(0.0, left))} left")
        if self._of_all:
            parts.insert(1, self._everywhere(*self._of_all))
        return " | ".join(parts)

    def _everywhere(self, done: Callable[[], int], shards: int) -> str:
        if time.monotonic() - self._looked > _ALL_SECONDS:
            self._looked, self._all_done = time.monotonic(), done()
        return f"{self._all_done}/{shards} by all"

    def close(self) -> None:
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()
