"""All-reduce of node pairs: which are slow or broken, and which node each of those is to be blamed on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Ends = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """`gb_s` is the bus bandwidth (recipes/gpu_check_lib/rounds.py), the lower of what the two nodes have measured."""

    nodes: Ends
    gb_s: float | None
    error: str | None
    over: str | None  # nccl, gloo

    def slow(self, floor: float, median: float | None, share: float) -> str | None:
        """Why it is not well; gloo's speed on a CPU tells of the CPU, and is not judged."""
        if self.error:
            return self.error
        if self.gb_s is None or self.over != "nccl":
            return None
        if self.gb_s < floor:
            return f"{self.gb_s:.1f} GB/s, the floor is {floor:g}"
        if median is not None and self.gb_s < share * median:
            return f"{self.gb_s:.1f} GB/s, the median of all pairs is {median:.1f}"
        return None


def read(documents: Mapping[int, Mapping[str, Any]]) -> list[Pair]:
    """The pairs that were measured, from what each node has written about its own."""
    found: dict[Ends, list[Mapping[str, Any]]] = {}
    for node, document in documents.items():
        for entry in document.get("pairs") or []:
            ends = (min(node, entry["peer"]), max(node, entry["peer"]))
            found.setdefault(ends, []).append({**entry, "over": document.get("backend")})
    return [_pair(ends, entries) for ends, entries in sorted(found.items())]


def _pair(ends: Ends, entries: list[Mapping[str, Any]]) -> Pair:
    speeds = [entry["gb_s"] for entry in entries if entry.get("gb_s") is not None]
    errors = [entry["error"] for entry in entries if entry.get("error")]
    # one that broke is told best by the side that knows more than that its partner did not turn up
    error = min(errors, key=lambda text: (text == "gone", "no answer" in text), default=None)
    return Pair(ends, min(speeds) if speeds and not error else None, error, entries[0].get("over"))


def median(pairs: Iterable[Pair]) -> float | None:
    """Of all pairs that have a speed."""
    speeds = [pair.gb_s for pair in pairs if pair.gb_s is not None]
    return statistics.median(speeds) if speeds else None


@dataclass(frozen=True)
class Blame:
    """`nodes` with the number of their bad pairs and of all; `links`: pairs that are bad, and neither end is to blame;
    `all`: so many are bad that it is no single node's fault."""

    nodes: dict[int, tuple[int, int]]
    links: list[Ends]
    all: bool = False


def blame(pairs: Mapping[Ends, bool]) -> Blame:
    """Which nodes explain the bad ones of `pairs` (True: bad).

    A node is to blame when more than half of its pairs are bad, of two at least; its pairs then say nothing of their
    other ends. Of two nodes alone nobody can tell which one it is.
    """
    bad = [ends for ends, is_bad in pairs.items() if is_bad]
    everyone = {node for ends in pairs for node in ends}
    if len(everyone) > 2 and len(bad) == len(pairs):
        return Blame({}, bad, all=True)
    rest = dict(pairs)
    found: dict[int, tuple[int, int]] = {}
    while True:
        counts = {node: _count(rest, node) for node in everyone - set(found)}
        worst = max(counts, key=lambda node: (counts[node][0] / max(1, counts[node][1]), counts[node][0]), default=None)
        if worst is None or counts[worst][1] < 2 or counts[worst][0] * 2 <= counts[worst][1]:
            break
        found[worst] = counts[worst]
        rest = {ends: is_bad for ends, is_bad in rest.items() if worst not in ends}
    if 2 * len(found) > len(everyone):
        return Blame({}, bad, all=True)
    return Blame(found, [ends for ends, is_bad in rest.items() if is_bad])


def _count(pairs: Mapping[Ends, bool], node: int) -> tuple[int, int]:
    own = [is_bad for ends, is_bad in pairs.items() if node in ends]
    return sum(own), len(own)
