"""Since when has a node's keeper given no sign of life? By the times of its file, and by this machine's clock alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Callable

from . import outside, slurm

BEATS = 3  # that are missed before a node counts as suspect: it is not taken as a spare, and Slurm is asked
LEAST_S = 30.0  # of silence, without a word from Slurm: an NFS client may show another's file that much too late
_LOST_BEATS = 5
_ASK_EVERY_S = 3.0
_SLURM_S = 4.0  # for its answer: this process has to give signs of life meanwhile
_LONGEST_PAUSE_S = 5.0  # between two looks; what is longer, this process itself was stopped, or its file system


@dataclass
class _Seen:
    mark: int | None
    silent_s: float = 0.0


class Silence:
    """Contract: `look` is called all the time; a host that is not asked for costs nothing."""

    def __init__(
        self,
        nnodes: int,
        clock: Callable[[], float] = time.monotonic,
        down: Callable[[list[str]], list[str]] = lambda hosts: slurm.down(hosts, _SLURM_S),
    ) -> None:
        self.every_s = outside.every_s(nnodes)  # between two signs of life
        self._clock, self._down = clock, down
        self._seen: dict[str, _Seen] = {}
        self._at: dict[str, float] = {}
        self._known_down: set[str] = set()
        self._asked_at = float("-inf")

    def look(self, host: str, path: str) -> float:
        """Seconds for which the file has not changed while this process could see that; 0.0 where it has never been
        there."""
        now, mark = self._clock(), _time_of(path)
        seen = self._seen.get(host)
        if seen is None or seen.mark != mark:
            self._seen[host] = _Seen(mark)
        elif mark is not None:
            seen.silent_s += min(now - self._at[host], _LONGEST_PAUSE_S)
        self._at[host] = now
        return self._seen[host].silent_s

    def has_been_there(self, host: str) -> bool:
        """Whether it has ever given a sign of life."""
        seen = self._seen.get(host)
        return seen is not None and seen.mark is not None

    def is_suspect(self, host: str) -> bool:
        """Whether signs are overdue."""
        return self._seen[host].silent_s >= BEATS * self.every_s

    def lost(self, hosts: list[str]) -> list[str]:
        """Those of the hosts that have been looked at that are lost: silent for long, or suspect and down for Slurm."""
        return [host for host in hosts if self._is_long(host) or (self.is_suspect(host) and host in self._slurms())]

    def _is_long(self, host: str) -> bool:
        return self._seen[host].silent_s >= max(LEAST_S, _LOST_BEATS * self.every_s)

    def _slurms(self) -> set[str]:
        """Those that Slurm cannot use, of all that are suspect."""
        now = self._clock()
        if now - self._asked_at >= _ASK_EVERY_S:
            self._known_down = set(self._down([host for host in self._seen if self.is_suspect(host)]))
            self._asked_at = self._clock()
        return self._known_down


def _time_of(path: str) -> int | None:
    """Of an opened file: an NFS client asks the server again at each open, and not at each stat."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
