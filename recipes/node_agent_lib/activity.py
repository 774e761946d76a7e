"""Do this node's processes work? Their CPU time, what they read and write, and whether one waits for a file system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, Iterable

from . import procs

_CPU_SHARE = 0.2  # of one core, by one process; threads that only poll (NCCL's, gloo's, a lock's) stay below it
_BYTES_PER_S = 65536
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """What was seen since the look before."""

    computes: bool = False
    transfers: bool = False
    waits: bool = False  # in an uninterruptible wait: a file system or device that does not answer


@dataclass(frozen=True)
class _Counters:
    ticks: int
    bytes: int
    waits: bool


class Activity:
    """Contract: `look` is called with a clock that never goes back. `pids`: the processes that count."""

    def __init__(self, pids: Callable[[], Iterable[int]] = lambda: procs.descendants(os.getpid())) -> None:
        self._pids = pids
        self._at: float | None = None
        self._before: dict[int, _Counters] = {}

    def look(self, now: float) -> Sample:
        """What they have done since the last look; a process that is new counts with all that it has done."""
        if not procs.has_proc():  # not to be seen here (macOS), so nobody may take them for idle
            return Sample(computes=True, transfers=True)
        counters = {pid: found for pid in self._pids() for found in [_counters(pid)] if found}
        before, at = self._before, self._at
        self._before, self._at = counters, now
        waits = any(found.waits for found in counters.values())
        if at is None or now <= at:
            return Sample(waits=waits)
        passed = now - at
        zero = _Counters(0, 0, False)
        grown = [(new, before.get(pid, zero)) for pid, new in counters.items()]
        computes = any(new.ticks - old.ticks >= _CPU_SHARE * passed * _TICKS_PER_S for new, old in grown)
        transfers = any(new.bytes - old.bytes >= _BYTES_PER_S * passed for new, old in grown)
        return Sample(computes, transfers, waits)


def _counters(pid: int) -> _Counters | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return _Counters(int(fields[11]) + int(fields[12]), _bytes(pid), fields[0] == "D")
    except (OSError, IndexError, ValueError):
        return None


def _bytes(pid: int) -> int:
    """Read and written; what mapped files bring in stands in read_bytes alone."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            values = dict(line.split(": ") for line in file.read().splitlines())
        return int(values["rchar"]) + int(values["wchar"]) + int(values["read_bytes"])
    except (OSError, KeyError, ValueError):  # not ours to see
        return 0
