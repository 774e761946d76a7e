"""Curves and bars in a line of text, in what the terminal's encoding has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-=+*#@"


def has_blocks(encoding: str | None) -> bool:
    """Whether text in that encoding can hold block characters."""
    try:
        _BLOCKS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def line(values: Sequence[float | None], columns: int, blocks: bool) -> str:
    """A curve of at most so many columns, each the mean of its values; a blank where none is a finite number."""
    if columns <= 0 or not values:
        return ""
    count = min(columns, len(values))
    edges = [round(number * len(values) / count) for number in range(count + 1)]
    means = [_mean(values[start:end]) for start, end in itertools.pairwise(edges)]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    marks, low, high = _BLOCKS if blocks else _PLAIN, min(known), max(known)
    scale = (len(marks) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else marks[round((mean - low) * scale)] for mean in means)


def bar(share: float, columns: int, blocks: bool) -> str:
    """`[#####-----]`, of at least three columns."""
    inside = max(1, columns - 2)
    done = math.floor(inside * min(1.0, max(0.0, share)))
    full, empty = ("█", "░") if blocks else ("#", "-")
    return f"[{full * done}{empty * (inside - done)}]"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
