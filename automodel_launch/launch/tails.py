"""Files that grow, read on from where the last look ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.harmless import harmless
from automodel_launch.remote.filesystem import LOCAL, FileRead, FileSystem, packed

LONGEST = 2**18  # bytes of a line that are kept; what is behind them is counted


@dataclass
class Tail:
    """New bytes of a growing file, in whole lines. `left_out` are bytes of the unfinished line beyond LONGEST."""

    path: Path | str
    offset: int = 0
    rest: bytes = b""
    place: FileSystem = LOCAL
    left_out: int = 0

    def lines(self, last: bool = False) -> Iterator[str]:
        """Lines since the last call; with `last`, also an unfinished one."""
        for _, line in new_lines({0: self}, self.place, last):
            yield line

    @property
    def wanted(self) -> tuple[str, int]:
        """What to read next."""
        return str(self.path), self.offset

    def take(self, found: FileRead) -> Iterator[str]:
        """Whole lines of what was read."""
        data, size = found or (b"", self.offset)
        if size < self.offset:  # another file of that name
            self.offset, self.rest, self.left_out = 0, b"", 0
            return
        self.offset += len(data)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            yield self._line()
            start = end + 1
        self._add(data[start:])

    def leave(self) -> list[str]:
        """The unfinished line."""
        return [self._line()] if self.rest else []

    def _add(self, piece: bytes) -> None:
        """To the unfinished line; a progress bar's earlier states, which it overwrites, are dropped."""
        line = self.rest + piece if self.rest else piece
        if len(line) > LONGEST:
            if overwritten := line.rstrip(b"\r").rfind(b"\r") + 1:
                line, self.left_out = line[overwritten:], 0
            self.left_out += max(0, len(line) - LONGEST)
            line = line[:LONGEST]
        self.rest = line

    def _line(self) -> str:
        text, more = as_text(self.rest), self.left_out
        self.rest, self.left_out = b"", 0
        return f"{text} ... ({more:,} bytes more in this line)" if more else text


def new_lines(tails: Mapping[Any, Tail], place: FileSystem, last: bool = False) -> Iterator[tuple[Any, str]]:
    """New lines of several files with their keys; a round trip for each CHUNK of bytes, so memory has a bound.

    What is written meanwhile is left to the next call: a job that logs faster than we read must not hold us here.
    """
    goals: dict[Any, int] = {}
    behind = list(tails)
    while behind:
        answers = place.read_many([tails[key].wanted for key in behind])
        further = []
        for key, found in zip(behind, answers, strict=True):
            start = tails[key].offset
            for line in tails[key].take(found):
                yield key, line
            data, size = found or (b"", 0)
            anew = tails[key].offset < start
            goals[key] = size if anew else goals.get(key, size)
            if (data or anew) and tails[key].offset < goals[key]:  # of a file that is gone nothing more comes
                further.append(key)
        behind = further
    if last:
        for key, tail in tails.items():
            for line in tail.leave():
                yield key, line


def in_order(tails: Mapping[Any, Tail], place: FileSystem) -> Iterator[tuple[Any, str]]:
    """All lines of several files, those of one behind those of another; in memory are CHUNK bytes of them.

    One round trip for as many as a CHUNK holds, one more for all where it does not hold them all.
    """
    keys = list(tails)
    found = place.read_many([tails[key].wanted for key in keys])
    goals = [one[1] if one else 0 for one in found]
    if sum(goals) <= sum(len(one[0]) for one in found if one):
        groups = iter([(keys, found)])
    else:
        del found
        named = ([keys[index] for index in group] for group in packed(goals))
        groups = ((group, place.read_many([tails[key].wanted for key in group])) for group in named)
    ends = dict(zip(keys, goals, strict=True))
    for group, answers in groups:
        for key, one in zip(group, answers, strict=True):
            tail = tails[key]
            yield from ((key, line) for line in tail.take(one))
            while tail.offset < ends[key] and (more := place.read(*tail.wanted)) and more[0]:
                yield from ((key, line) for line in tail.take(more))
            yield from ((key, line) for line in tail.leave())


def as_text(line: bytes) -> str:
    """A line of a log."""
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]  # a progress bar overwrites its line


def shown(line: str) -> str:
    """A line of a job's log for a terminal: colours stay, and nothing else that a terminal would act on."""
    return harmless(line, colour=True)
