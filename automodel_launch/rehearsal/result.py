"""The answer of recipes/rehearse.py, read from what a process on another machine has printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
OUTCOMES = ("passed", "refused", "partial", "not-rehearsed")
# Of these a later try might get an answer, with nothing changed that the cache's key knows.
_PASSING = frozenset(("time", "memory", "hub", "internal"))


@dataclass(frozen=True)
class Refusal:
    """What the framework has raised, or would have."""

    stage: str
    type: str
    text: str
    file: str | None = None
    line: int | None = None
    source: str | None = None  # the line's text
    key: str | None = None
    key_by: str | None = None  # "override", "section" or "removal"
    override: str | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Partial:
    """What was not rehearsed."""

    reason: str
    text: str
    package: str | None = None


@dataclass(frozen=True)
class Result:
    """A rehearsal's end. `document` is what was printed."""

    outcome: str
    refusal: Refusal | None
    partial: tuple[Partial, ...]
    ranks: tuple[int, ...]
    seconds: float
    memory: Mapping[str, Mapping[str, int]]  # of each rank: bytes by what they are for, and `peak`
    document: Mapping[str, Any] = field(repr=False)

    @property
    def late(self) -> bool:
        """Its time was over before it had come to an end."""
        return any(entry.reason == "time" for entry in self.partial)

    @property
    def lasts(self) -> bool:
        """The same request would be answered the same."""
        reasons = {entry.reason for entry in self.partial}
        return self.outcome in ("passed", "refused") or (self.outcome == "partial" and not reasons & _PASSING)


def read(text: str) -> Result:
    """The last line of a standard output.

    Raises:
        ValueError: it is no answer.
    """
    lines = text.strip().splitlines()
    try:
        return parse(json.loads(lines[-1]))
    except (IndexError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("no result") from error


def parse(document: Mapping[str, Any]) -> Result:
    """The document.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    if document["schema"] != SCHEMA or document["outcome"] not in OUTCOMES:
        raise ValueError("another schema")
    refusal = _refusal(document["refusal"]) if document.get("refusal") else None
    if (document["outcome"] == "refused") != (refusal is not None):
        raise ValueError("a refusal without its outcome")
    partial = tuple(
        Partial(str(entry["reason"]), str(entry.get("text") or ""), _string(entry.get("package")))
        for entry in document.get("partial") or ()
    )
    ranks = tuple(int(rank) for rank in document.get("ranks") or ())
    seconds = sum(float(value) for value in (document.get("seconds") or {}).values())
    return Result(document["outcome"], refusal, partial, ranks, seconds, _memory(document), document)


def _memory(document: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    by_rank = (document.get("memory") or {}).get("rank") or {}
    return {
        str(rank): {str(part): int(size) for part, size in {"peak": 0, **parts}.items()}
        for rank, parts in by_rank.items()
    }


def _refusal(entry: Mapping[str, Any]) -> Refusal:
    strings = {name: _string(entry.get(name)) for name in ("file", "source", "key", "key_by", "override")}
    numbers = {name: None if entry.get(name) is None else int(entry[name]) for name in ("line", "rank")}
    return Refusal(str(entry["stage"]), str(entry["type"]), str(entry.get("text") or ""), **strings, **numbers)  # type: ignore[arg-type]


def _string(value: Any) -> str | None:
    return None if value is None else str(value)
