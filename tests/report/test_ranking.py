"""Which point of a sweep is the best."""

from __future__ import annotations

import math
from typing import Any

import pytest

from automodel_launch.report import ranking
from automodel_launch.report.ranking import Rank


def _rows(*values: float | None, name: str = "loss") -> list[dict[str, Any]]:
    return [{"step": step, **({} if value is None else {name: value})} for step, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rows", "metric", "rank"),
    [
        (_rows(3.0, 1.0, 2.0), "loss", Rank(2.0, 2, 1.0, 1)),
        (_rows(3.0, 1.0, None), "loss", Rank(1.0, 1, 1.0, 1)),
        (_rows(3.0, 5.0, 4.0, name="tps"), "tps", Rank(4.0, 2, 5.0, 1)),
        (_rows(3.0, math.nan), "loss", Rank(math.nan, 1, 3.0, 0)),
        ([{"step": 0, "loss": 3.0}, {"step": 1, "loss": None}], "loss", Rank(math.nan, 1, 3.0, 0)),  # columns.py
        (_rows(None), "loss", Rank()),
        ([{"step": 1, "loss": "low"}, {"step": True, "loss": 1.0}, {"loss": 1.0}], "loss", Rank()),
    ],
)
def test_the_last_value_and_the_best(rows: list[dict[str, Any]], metric: str, rank: Rank) -> None:
    assert repr(ranking.rank(rows, metric)) == repr(rank)


@pytest.mark.parametrize(
    ("metric", "order"), [("loss", [2, 0, 1, 3]), ("tps", [1, 0, 2, 3]), ("val/accuracy", [1, 0, 2, 3])]
)
def test_the_order(metric: str, order: list[int]) -> None:
    ranks = [Rank(2.0), Rank(3.0), Rank(1.0), Rank(), Rank(math.nan)]
    assert ranking.order(ranks, metric) == [*order, 4]


def test_the_metric_that_is_meant() -> None:
    assert ranking.usual([_rows(1.0), _rows(1.0, name="val_loss")]) == "val_loss"
    assert ranking.usual([_rows(1.0), []]) == "loss"
    assert ranking.names([_rows(1.0), [{"step": 1, "time": 2.0, "lr": 1e-4, "name": "x"}]]) == ["loss", "lr"]
