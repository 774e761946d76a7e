"""Rows of metrics that cannot be true: a step far behind, where no attempt began and the next row knows nothing of it.

A torn line of a log, or one that a person has printed, reads like a step. Who believes it takes all before it for work
that was lost. What goes back and is true takes its steps once more: when an attempt begins, and where ranks were
started again within one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, TypeVar

from automodel_launch.jobs.records import is_number

Row = TypeVar("Row", bound=dict[str, Any])


def strays(steps: Sequence[float], starts: Container[int]) -> list[int]:
    """Indices of such rows; `starts` are those of the first rows of attempts, which may be anything.

    The last row of all, if it goes back, is one until another row has come after it.
    """
    found: list[int] = []
    high, index = float("-inf"), 0
    while index < len(steps):
        if steps[index] < high and index not in starts:
            end = _climb(steps, index, high, starts)
            if not _is_true(steps, index, end, high, starts):
                found += range(index, end)
                index = end
                continue
        high = steps[index]
        index += 1
    return found


def _climb(steps: Sequence[float], index: int, high: float, starts: Container[int]) -> int:
    """The end of the rows from there on that do not go back, nor beyond `high`."""
    end = index + 1
    while end < len(steps) and end not in starts and steps[end - 1] <= steps[end] <= high:
        end += 1
    return end


def _is_true(steps: Sequence[float], index: int, end: int, high: float, starts: Container[int]) -> bool:
    """Whether they were taken: more than one, and up to where the steps before them had come, if the next goes on."""
    if end - index < 2:
        return False
    goes_on = end < len(steps) and end not in starts and steps[end] > high
    return not goes_on or steps[end - 1] >= 2 * high - steps[end]


def without(rows: Sequence[Row], started: float | None = None) -> list[Row]:
    """The rows without these; each has a `step`. `started`: when the last attempt began, in unix seconds."""
    times = [row.get("time") for row in rows]
    began = (n for n, time in enumerate(times) if started is not None and is_number(time) and time >= started)
    odd = frozenset(strays([row["step"] for row in rows], {next(began, -1)}))
    return [row for number, row in enumerate(rows) if number not in odd]
