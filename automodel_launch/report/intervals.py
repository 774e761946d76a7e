"""Times that overlap: unions and sums of intervals, which are pairs of unix seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

Interval = tuple[float, float]


class Union:
    """A set of intervals of which the overlaps count once; asked for its part between two times."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        self.parts: list[Interval] = []
        for start, end in sorted(interval for interval in intervals if interval[1] > interval[0]):
            if self.parts and start <= self.parts[-1][1]:
                self.parts[-1] = (self.parts[-1][0], max(self.parts[-1][1], end))
            else:
                self.parts.append((start, end))
        self._ends = [end for _, end in self.parts]

    def between(self, start: float, end: float) -> float:
        """Seconds of the set between two times."""
        total = 0.0
        for index in range(bisect_left(self._ends, start), len(self.parts)):
            low, high = self.parts[index]
            if low >= end:
                break
            total += max(0.0, min(high, end) - max(low, start))
        return total

    def without(self, other: Union) -> Union:
        """What of it is not in the other one."""
        left: list[Interval] = []
        for start, end in self.parts:
            for low, high in other.parts[bisect_left(other._ends, start) :]:
                if low >= end:
                    break
                left.append((start, low))
                start = max(start, high)
            left.append((start, end))
        return Union(left)
