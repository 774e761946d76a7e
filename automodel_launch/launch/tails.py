"""Files that grow, read on from where the last look ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.harmless import harmless
from automodel_launch.remote.filesystem import LOCAL, FileRead, FileSystem


@dataclass
class Tail:
    """New bytes of a growing file, in whole lines."""

    path: Path | str
    offset: int = 0
    rest: bytes = b""
    place: FileSystem = LOCAL

    def lines(self, last: bool = False) -> Iterator[str]:
        """Lines since the last call; with `last`, also an unfinished one."""
        for _, line in new_lines({0: self}, self.place, last):
            yield line

    @property
    def wanted(self) -> tuple[str, int]:
        """What to read next."""
        return str(self.path), self.offset

    def take(self, found: FileRead) -> list[str]:
        """Whole lines of what was read."""
        data, size = found or (b"", self.offset)
        if size < self.offset:  # another file of that name
            self.offset, self.rest = 0, b""
            return []
        self.offset += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [as_text(line) for line in whole]

    def leave(self) -> list[str]:
        """The unfinished line."""
        rest, self.rest = self.rest, b""
        return [as_text(rest)] if rest else []


def new_lines(tails: Mapping[Any, Tail], place: FileSystem, last: bool = False) -> Iterator[tuple[Any, str]]:
    """New lines of several files with their keys; a round trip for each CHUNK of bytes, so memory has a bound.

    What is written meanwhile is left to the next call: a job that logs faster than we read must not hold us here.
    """
    goals: dict[Any, int] = {}
    behind = list(tails)
    while behind:
        answers = place.read_many([tails[key].wanted for key in behind])
        for key, found in zip(behind, answers, strict=True):
            start = tails[key].offset
            for line in tails[key].take(found):
                yield key, line
            anew = tails[key].offset < start
            goals[key] = 1 if anew else goals.get(key, found[1] if found else 0)
        behind = [key for key in behind if tails[key].offset < goals[key]]
    if last:
        for key, tail in tails.items():
            for line in tail.leave():
                yield key, line


def as_text(line: bytes) -> str:
    """A line of a log."""
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]  # a progress bar overwrites its line


def shown(line: str) -> str:
    """A line of a job's log for a terminal: colours stay, and nothing else that a terminal would act on."""
    return harmless(line, colour=True)
