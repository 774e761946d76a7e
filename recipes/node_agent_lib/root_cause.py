"""Of all that has failed in an attempt, what began it.

Neither the loudest nor merely the earliest: when one rank fails, thousands say that a connection was lost, and clocks
of nodes differ. So each error has a level (known/signature.py):

    3  a machine has failed (an uncorrectable memory error of a GPU): before everything else, whenever it was noted,
       also of a rank that was being ended
    2  what no other rank's end makes a rank say (a full disk), and an error of which nothing is known
    1  what may follow from another error (a crash, a lost data loader)
    0  what says that another rank is gone

What was told to end because of something else does not count. Of levels 1 and 2 what was noted in the moment of the
first failure counts, the earliest of the higher level (but an error of an unknown kind gives way to what was noted
before it on its own host); where that moment has level 0 alone, a known error of level 2
at any time, then a node that vanished, then the earliest of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from .known import Signature
from .patterns import pattern

SAME_MOMENT_S = 30.0  # a large process takes seconds to die, while its peers see the closed connection at once
_COMMUNICATION = pattern(
    r"Dist(Backend|Network|Store)Error|NCCL|gloo|Connection (closed|reset|refused)|Broken pipe|ConnectionResetError"
    r"|TCPStore|recvValue|Socket Timeout|[Ww]atchdog|collective operation timeout|Timed out waiting"
    r"|RendezvousConnectionError",
)
_MACHINE, _ROOT = 3, 2


@dataclass
class Cause:
    """One candidate for what ended the job."""

    time: float
    host: str
    code: int
    error: str
    victim: bool = False
    rank: int | None = None
    signal: str | None = None
    traceback: str | None = None
    log: str | None = None
    vanished: bool = False
    known: Signature | None = None

    @property
    def communication(self) -> bool:
        """Whether this looks like the consequence of another process's end."""
        return not self.vanished and self.level == 0

    @property
    def level(self) -> int:
        """See above. An error of an unknown kind that speaks of a connection is a consequence all the same."""
        if self.known is not None:
            return self.known.level
        return 0 if _COMMUNICATION.search(self.error) else _ROOT


def first(causes: list[Cause]) -> Cause | None:
    """What began it; None where nothing has failed."""
    if not causes:
        return None
    machines = [cause for cause in causes if cause.level == _MACHINE and not cause.vanished]
    if machines:
        return _earliest(machines)
    own = [cause for cause in causes if not cause.victim and not cause.vanished]
    vanished = [cause for cause in causes if not cause.victim and cause.vanished]
    if not own:
        return _earliest(vanished or causes)
    begun = _earliest(own)
    at_once = [cause for cause in own if cause.time <= begun.time + SAME_MOMENT_S and cause.level > 0]
    if at_once:
        highest = max(cause.level for cause in at_once)
        found = _earliest(cause for cause in at_once if cause.level == highest)
        before = [cause for cause in at_once if cause.host == found.host and cause.time < found.time]
        return _earliest(before) if before and found.known is None else found  # one host has one clock
    late = [cause for cause in own if cause.known is not None and cause.level >= _ROOT]
    if late:
        return _earliest(late)
    return vanished[0] if vanished else begun


def _earliest(causes: Iterable[Cause]) -> Cause:
    return min(causes, key=lambda cause: cause.time)
