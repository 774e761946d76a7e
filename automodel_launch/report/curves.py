"""Curves for a chart: fewer points that look the same, and a smoothed line."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 4000  # points of a curve on the page: more than a screen has columns
_SPAN = 50  # a smoothed line looks back over this part of the curve
_SHORTEST = 5.0  # points that it looks back over at least


def thinned(x: Sequence[float], y: Sequence[float], most: int = MOST) -> list[int]:
    """Which points to draw: at most `most`, the first, the last, the lowest and the highest among them.

    Largest triangle three buckets (S. Steinarsson, 2013): of each bucket of neighbours the point that spans the
    largest triangle with the one chosen before and the mean of the next bucket. `x` rises; both are finite.
    """
    count = len(x)
    if count <= most:
        return list(range(count))
    extremes = {min(range(count), key=y.__getitem__), max(range(count), key=y.__getitem__)}
    buckets = most - 2 - len(extremes)
    edges = [1 + (count - 2) * bucket // buckets for bucket in range(buckets + 1)]
    chosen = [0]
    for bucket in range(buckets):
        start, end = edges[bucket], edges[bucket + 1]
        after = edges[bucket + 2] if bucket + 2 <= buckets else count
        chosen.append(_farthest(x, y, chosen[-1], range(start, end), range(end, after)))
    return sorted({*chosen, *extremes, count - 1})


def _farthest(x: Sequence[float], y: Sequence[float], before: int, own: range, after: range) -> int:
    """The point of `own` with the largest triangle."""
    to_x = sum(x[after.start : after.stop]) / len(after) - x[before]
    to_y = sum(y[after.start : after.stop]) / len(after) - y[before]
    from_x, from_y = x[before], y[before]
    best, largest = own.start, -1.0
    for point in own:
        area = abs(to_x * (y[point] - from_y) - to_y * (x[point] - from_x))
        if area > largest:
            best, largest = point, area
    return best


def smoothed(y: Sequence[float]) -> list[float]:
    """An exponential moving average over a fiftieth of the curve, without the pull of its first value."""
    keep = 1.0 - 1.0 / max(_SHORTEST, len(y) / _SPAN)
    total, weight, found = 0.0, 0.0, []
    for value in y:
        total = keep * total + value
        weight = keep * weight + 1.0
        found.append(total / weight)
    return found
