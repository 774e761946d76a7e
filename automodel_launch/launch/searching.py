"""Lines of many ranks' logs that match: by a pattern, by what looks like an error, by their time.

Logs are read one behind the other, as many in a round trip as a CHUNK holds, so memory has a bound.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs.jobdir import JobDir, parse
from automodel_launch.jobs.records import is_time
from automodel_launch.launch.quiet import Trouble, bare
from automodel_launch.launch.tails import Tail, in_order
from automodel_launch.remote.filesystem import LOCAL

_STAMP = re.compile(r"(?:^|[\s\[])(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")
_STAMP_WITHIN = 60  # characters of a line in which its time stands
_ZONE_S = 900  # time zones differ by quarters of an hour
_HEAD = 2**14
_LONGEST = 60  # lines of one error
_MOST = 200  # errors that are kept apart
_WARNING = re.compile(r"\W*\w*warning\b", re.I)  # it is one, and no error
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.I)

Line = tuple[int, str]


def lines(job: JobDir, ranks: Iterable[int]) -> Iterator[Line]:
    """(rank, line) of all that these have logged, one rank after the other.

    Raises:
        ClusterError: its place cannot be reached.
    """
    yield from in_order({rank: Tail(job.log(rank), place=job.place) for rank in ranks}, job.place)


@dataclass
class Since:
    """Keeps lines that were logged at `moment` (unix seconds) or later.

    A line without a time has that of the line before it. `offset` are the seconds by which the clock on the job's walls
    is ahead of UTC; `untold` says that no line had a time.
    """

    moment: float
    offset: float
    untold: bool = True
    _last: dict[int, float] = field(default_factory=dict)

    def __call__(self, rank: int, line: str) -> bool:
        """Whether it is kept."""
        found = _STAMP.search(bare(line)[:_STAMP_WITHIN])
        if found:
            try:
                when = timegm(time.strptime(" ".join(found.groups()), "%Y-%m-%d %H:%M:%S")) - self.offset
            except ValueError:
                when = self._last.get(rank, 0.0)
            self._last[rank], self.untold = when, False
        return self._last.get(rank, 0.0) >= self.moment


def offset(job: JobDir) -> float:
    """Seconds by which the local time of the job's nodes is ahead of UTC: its agent writes both.

    Raises:
        ClusterError: its place cannot be reached.
    """
    if job.place == LOCAL:
        return float(time.localtime().tm_gmtoff)
    log, events = job.place.read_many([(job.file(contract.agent_log(0)), 0), (job.file(contract.EVENTS), 0)])
    stamp = re.search(rb"\[node agent 0 (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\]", log[0][:_HEAD] if log else b"")
    told = [parse(line) or {} for line in (events[0].split(b"\n") if events else [])]
    times = [one.get("time") for one in told if one.get("state") == contract.EVENT_STARTED]
    began = next((when for when in times if is_time(when)), None)
    if stamp is None or began is None:
        return float(time.localtime().tm_gmtoff)
    local = timegm(time.strptime(stamp.group(1).decode(), "%Y-%m-%d %H:%M:%S"))
    return float(round((local - began) / _ZONE_S) * _ZONE_S)


def troubles() -> Callable[[int, str], bool]:
    """A filter of lines that may be errors, with tracebacks to their ends."""
    by_rank: dict[int, Trouble] = {}
    return lambda rank, line: by_rank.setdefault(rank, Trouble()).sees(bare(line))


@dataclass
class Error:
    """Lines that belong together, as the first rank has logged them, and all ranks that have logged the like."""

    rank: int
    lines: list[str]
    ranks: list[int]

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return {"rank": self.rank, "ranks": self.ranks, "lines": self.lines}


def errors(found: Iterable[Line], keep: Callable[[int, str], bool]) -> list[Error]:
    """What looks like an error, the like of several ranks once: numbers and addresses do not count."""
    kept: dict[str, Error] = {}
    ranks: dict[str, set[int]] = {}
    open_blocks: dict[int, list[str]] = {}
    is_trouble = troubles()

    def close(rank: int) -> None:
        block = open_blocks.pop(rank, None)
        if not block or (len(block) == 1 and _WARNING.match(bare(block[0]))):
            return
        key = _NUMBERS.sub("#", "\n".join(bare(line) for line in block))
        error = kept.get(key)
        if error is None and len(kept) < _MOST:
            kept[key], ranks[key] = Error(rank, block, []), {rank}
        elif error is not None:
            ranks[key].add(rank)

    for rank, line in found:
        if not (is_trouble(rank, line) and keep(rank, line)):
            close(rank)
            continue
        block = open_blocks.setdefault(rank, [])
        if line.startswith("Traceback (most recent") and block and block[-1].strip() != "":
            close(rank)
            block = open_blocks.setdefault(rank, [])
        block.append(line)
        if len(block) >= _LONGEST:
            close(rank)
    for rank in list(open_blocks):
        close(rank)
    return [replace(error, ranks=sorted(ranks[key])) for key, error in kept.items()]
