"""`umask` and `ulimit` of the startup commands: their shell ends before the training begins, which gets them, too.

bash tells them before the first command and behind the last one. What has changed in between is what they have set.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from typing import Dict, Tuple

from .patterns import pattern

_NAMES = {
    **{"c": "CORE", "d": "DATA", "e": "NICE", "f": "FSIZE", "i": "SIGPENDING", "l": "MEMLOCK", "m": "RSS"},
    **{"n": "NOFILE", "q": "MSGQUEUE", "r": "RTPRIO", "s": "STACK", "t": "CPU", "u": "NPROC", "v": "AS", "R": "RTTIME"},
}
_UNITS = {"kbytes": 1024, "blocks": 1024}  # of bash outside its POSIX mode
_LINE = pattern(r".*\((?:([^,()]+), )?-(\w)\)\s+(\d+|unlimited)")
_FUNCTION = "__node_agent_limits"


def definition(descriptor: int) -> str:
    """A line of bash that defines what the calls in `CALL` do: tell everything to that descriptor."""
    told = "umask; builtin ulimit -Sa; echo; builtin ulimit -Ha; echo"
    return f"{_FUNCTION}() {{ ( set +e +o posix; unset -f umask; {told} ) 2>/dev/null >&{descriptor}; return 0; }}"


CALL = _FUNCTION

Limits = Dict[int, Tuple[int, int]]  # soft and hard, by the number of the module resource


@dataclass
class Ulimits:
    """What a process gets before it becomes another program."""

    umask: int | None = None
    limits: Limits = field(default_factory=dict)

    def apply(self) -> None:
        """Of this process, and of what it starts."""
        if self.umask is not None:
            os.umask(self.umask)
        for number, pair in self.limits.items():
            resource.setrlimit(number, pair)


def read(text: str) -> Ulimits:
    """What the calls before and behind the commands have told; nothing where one of them is missing."""
    parts = text.split("\n\n")
    if len(parts) < 4:
        return Ulimits()
    before, after = (_limits(*pair) for pair in (parts[0:2], parts[2:4]))
    masks = [part.strip().splitlines()[0] for part in (parts[0], parts[2])]
    changed = {number: pair for number, pair in after.items() if before.get(number) != pair}
    return Ulimits(int(masks[1], 8) if masks[0] != masks[1] else None, changed)


def _limits(soft: str, hard: str) -> Limits:
    softs, hards = _values(soft), _values(hard)
    return {number: (softs[number], hards[number]) for number in softs if number in hards}


def _values(text: str) -> dict[int, int]:
    found = {}
    for unit, flag, value in (match.groups() for match in map(_LINE.fullmatch, text.splitlines()) if match):
        number = getattr(resource, f"RLIMIT_{_NAMES.get(flag)}", None)
        if number is not None:
            found[number] = resource.RLIM_INFINITY if value == "unlimited" else int(value) * _UNITS.get(unit, 1)
    return found
