"""Megatron's bin/idx pairs: they exist, and are complete as far as sizes, headers and the last sequence show.

`data-prep inspect` reads every byte. A training notices a pair that is cut off, or of another type, only when it draws
a sample of it, hours into a run, or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from automodel_launch.backends.data import probe
from automodel_launch.backends.data.blends import PREPARE, Use
from automodel_launch.backends.data.facts import DataFacts, Facts
from automodel_launch.backends.data.paths import outside
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

ITEM = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}  # bytes of an id, by the type in an .idx
INSPECT = "python launch.py data-prep inspect {} tells more; prepare it again"
_SHOWN = 3  # faults of one kind are reported for so many shards; the others are counted

Fault = tuple[str, str, str]  # what is wrong in general, with this shard, and the fix


def check(plan: Plan, named: Iterable[Use | Finding], data: DataFacts) -> Iterator[Finding]:
    """What is wrong with the pairs that a config names, each once; and the findings that stand between them."""
    uses: dict[str, str] = {}
    faults = []
    for use in named:
        if isinstance(use, Finding):
            yield use
        else:
            uses.setdefault(use.prefix, use.where)
    for prefix, where in uses.items():
        fault = pair_fault(prefix, data.about("pairs", prefix))
        if fault:
            faults.append((prefix, where, *fault))
    yield from grouped(plan, faults)
    yield from unread(uses, data.answer.get("pairs", {}), data)


def pair_fault(prefix: str, facts: Facts) -> Fault | None:
    """What is wrong with a bin/idx pair. Sizes of the .bin against the last sequence: a cut .bin, and a wrong type that
    is not as wide as the right one; one of the same width (uint16 read as int16) is not found.
    """
    if "elsewhere" in facts:
        return None
    if "error" in facts:
        return unreadable(facts)
    for end in ("bin", "idx"):
        if facts[end] == 0:
            return "empty", f"{prefix}.{end} is empty", PREPARE
    inspect = INSPECT.format(prefix)
    if facts.get("short") or not facts.get("magic") or facts["version"] != 1:
        return "no index", f"{prefix}.idx is not an index of Megatron data", inspect
    kind = facts["type"]
    if kind not in probe.CODES:
        other = "floating-point numbers" if kind in ITEM else f"type {kind}, which does not exist"
        return "type", f"{prefix}.idx says that the ids are {other}", inspect
    if "need" in facts:
        sizes = f"{facts['idx']:,} bytes and should have {facts['need']:,}"
        return "cut", f"{prefix}.idx has {sizes}: it is cut off", inspect
    if not facts["sequences"]:
        return "empty", f"{prefix}.idx holds no sequence", PREPARE
    return _size_fault(prefix, facts, ITEM[kind], inspect) or _negative(prefix, facts, inspect)


def _size_fault(prefix: str, facts: Facts, item: int, inspect: str) -> Fault | None:
    if "second" in facts and facts["second"] != facts["first"] * item:
        describe = f"{prefix}.idx says {item} bytes an id, and its offsets are those of another type"
        return "type", describe, inspect
    need = facts["start"] + facts["last"] * item
    if facts["bin"] == need or need <= 0:
        return None if need > 0 else ("offsets", f"{prefix}.idx has invalid offsets", inspect)
    for other in (1, 2, 4, 8):
        if other != item and facts["bin"] * item == need * other:
            describe = f"{prefix}.idx says {item} bytes an id, and the .bin has {other}: training would read garbage"
            return "type", describe, inspect
    state = "cut off" if facts["bin"] < need else "longer than its .idx says"
    return "size", f"{prefix}.bin has {facts['bin']:,} bytes and should have {need:,}: it is {state}", inspect


def _negative(path: str, facts: Facts, inspect: str) -> Fault | None:
    if facts.get("low", 0) < 0:
        return "negative", f"{path} holds the id {facts['low']}: it is not a file of ids, or has another type", inspect
    return None


def unreadable(facts: Facts) -> Fault:
    """A file that could not be opened."""
    if facts["error"] == "No such file or directory":
        return "missing", f"{facts['file']} does not exist", PREPARE
    return "unreadable", f"{facts['file']}: {facts['error']}", "its permissions; the job reads it as you"


def grouped(plan: Plan, faults: list[tuple[str, str, str, str, str]]) -> Iterator[Finding]:
    """The first faults of each kind, and how many more there are like the last one."""
    kinds: dict[str, list[tuple[str, str, str, str, str]]] = {}
    for fault in faults:
        kinds.setdefault(fault[2], []).append(fault)
    for kind, like in kinds.items():
        for number, (name, where, _, message, fix) in enumerate(like[:_SHOWN], 1):
            left = len(like) - _SHOWN if number == _SHOWN else 0
            more = f"; {left} more have the same fault" if left > 0 else ""
            text = f"{where}: {message}{outside(plan, name)}{more}."
            if kind in ("missing", "empty"):
                yield Finding("error", "no-data", text, fix)
            else:
                yield Finding("error", "bad-shard", text, fix)


def unread(names: Iterable[str], looked: Any, data: DataFacts) -> Iterator[Finding]:
    """What there was no time for."""
    missing = sum(name not in looked for name in dict.fromkeys(names)) if data.answer else 0
    if missing:
        message = f"{missing} shards were not looked at: the file system is slow, and the time limit was reached."
        yield Finding("note", "not-looked-at", message)
