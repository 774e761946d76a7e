"""What an inspection finds in one set of files; read in chunks, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK = 1 << 22  # items read at once
_HEAD = 64  # ids of each shown document


@dataclass(frozen=True)
class Expected:
    """What is known from elsewhere, and how many documents are to be shown; None: not known."""

    vocab_size: int | None = None
    bos_id: int | None = None
    dtype: str | None = None
    documents: int = 3


@dataclass
class Found:
    """One bin/idx pair or one .bin shard. Ids, tokens and documents are None where damage hides them."""

    path: str
    format: str
    split: str | None = None
    weight: float | None = None
    dtype: str | None = None
    tokens: int | None = None
    documents: int | None = None
    longest: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    first: list[list[int]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_items(path: Path, dtype: Any, offset: int, count: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """(position, items) of `count` items from a byte offset, a chunk at a time; ends early where the file does."""
    with open(path, "rb") as file:
        file.seek(offset)
        at = 0
        while at < count and len(items := np.fromfile(file, dtype, min(CHUNK, count - at))):
            yield at, items
            at += len(items)


def check_ids(found: Found, path: Path, dtype: Any, offset: int, count: int, expected: Expected) -> None:
    """Range of the ids, and those that the vocabulary does not have."""
    lows, highs, beyond, first = [], [], 0, None
    for at, ids in read_items(path, dtype, offset, count):
        low, high = int(ids.min()), int(ids.max())
        lows.append(low)
        highs.append(high)
        if low < 0 or (expected.vocab_size is not None and high >= expected.vocab_size):
            bad = ids < 0 if expected.vocab_size is None else (ids < 0) | (ids >= expected.vocab_size)
            beyond += int(bad.sum())
            first = at + int(bad.argmax()) if first is None else first
    if lows:
        found.min_id, found.max_id = min(lows), max(highs)
    if beyond:
        where = "below 0" if expected.vocab_size is None else f"outside the vocabulary of {expected.vocab_size}"
        found.damage.append(
            f"{beyond} ids {where}, the first at token {first}; ids go from {min(lows)} to {max(highs)}"
        )


def check_dtype(found: Found, expected: Expected) -> None:
    if expected.dtype and found.dtype and found.dtype != expected.dtype:
        found.damage.append(f"dtype mismatch: {found.dtype} here, {expected.dtype} in record.json")


def head(path: Path, dtype: Any, offset: int, tokens: int) -> list[int]:
    """The first ids of a document that begins at a byte offset."""
    return [int(i) for _, ids in read_items(path, dtype, offset, min(tokens, _HEAD)) for i in ids]


def size_error(what: str, size: int, tokens: int, itemsize: int, before: int = 0) -> str:
    """Why a file of `size` bytes does not hold `tokens` ids of `itemsize` bytes behind `before` others."""
    need = before + tokens * itemsize
    for other in (1, 2, 4, 8):
        if other != itemsize and tokens and size == before + tokens * other:
            return f"dtype mismatch: {what} says {itemsize} bytes a token, the .bin has {other}"
    state = "truncated" if size < need else "too long"
    return f"{state}: .bin has {size} bytes; {what} says {tokens} tokens of {itemsize} bytes, {need} bytes in all"
