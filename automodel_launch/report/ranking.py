"""The points of a sweep by a metric, best first: the last value that each run has, and the best one with its step."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from automodel_launch.jobs.records import is_number, is_whole

Json = dict[str, Any]

HIGHEST = re.compile(r"(^|[_/.-])(tps|mfu|tflops|throughput|acc|accuracy|score|reward)", re.I)
"""Metrics of which the highest value is the best; of all others the lowest is."""
_USUAL = ("val_loss", "loss")


@dataclass(frozen=True)
class Rank:
    """A metric of one run. `value` is the last one logged, at `step`; `best` and `best_step` over all steps."""

    value: float | None = None
    step: int | None = None
    best: float | None = None
    best_step: int | None = None


def usual(runs: Sequence[list[Json]]) -> str:
    """The loss on validation data where any run has one, else that of training."""
    return next((name for name in _USUAL if any(name in row for rows in runs for row in rows)), _USUAL[-1])


def names(runs: Sequence[list[Json]]) -> list[str]:
    """The metrics that any run has logged."""
    found = {name for rows in runs for row in rows for name, value in row.items() if is_number(value)}
    return sorted(found - {"step", "time"})


def rank(rows: Sequence[Json], metric: str) -> Rank:
    """What one run has of a metric; a value that is no number (a loss that has become NaN) is the last, and no best."""
    told = [(row["step"], _value(row, metric)) for row in rows if is_whole(row.get("step"))]
    found = [(step, value) for step, value in told if _is_told(value)]
    if not found:
        return Rank()
    step, value = found[-1]
    finite = [(each, at) for at, each in found if math.isfinite(each)]
    better = max if HIGHEST.search(metric) else min
    best, best_step = better(finite, key=lambda pair: pair[0]) if finite else (None, None)
    return Rank(float(value), step, best, best_step)


def order(ranks: Sequence[Rank], metric: str) -> list[int]:
    """The runs' places by their last values, best first; those without a number come last, as they were."""
    sign = -1 if HIGHEST.search(metric) else 1

    def key(place: int) -> tuple[bool, float]:
        value = ranks[place].value
        told = value is not None and math.isfinite(value)
        return not told, sign * value if told and value is not None else 0.0

    return sorted(range(len(ranks)), key=key)


def _value(row: Json, metric: str) -> Any:
    """A loss is logged with its step, so None in its place stands for what was no number (columns.py)."""
    value = row.get(metric)
    is_loss = metric == "loss" or metric.startswith("val_loss")
    return math.nan if value is None and is_loss and metric in row else value


def _is_told(value: Any) -> bool:
    return isinstance(value, float) or is_number(value)
