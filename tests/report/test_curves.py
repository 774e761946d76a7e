"""Curves with fewer points that look the same."""

from __future__ import annotations

import math

import pytest

from automodel_launch.report import curves


@pytest.mark.parametrize("count", [0, 1, 2, 4000])
def test_few_points_all_stay(count: int) -> None:
    assert curves.thinned(range(count), [1.0] * count) == list(range(count))


@pytest.mark.parametrize("count", [4001, 10_007, 1_000_000])
def test_many_points_keep_the_ends_and_the_extremes(count: int) -> None:
    y = [3.0 + math.sin(step / 1000) for step in range(count)]
    y[count // 3], y[count // 2] = 50.0, -50.0
    chosen = curves.thinned(range(count), y)
    assert len(chosen) <= curves.MOST
    assert len(chosen) > curves.MOST - 5
    assert chosen == sorted(set(chosen))
    assert {0, count - 1, count // 3, count // 2} <= set(chosen)


def test_a_lone_peak_of_a_bucket_is_chosen() -> None:
    y = [0.0] * 100
    for peak in (17, 53, 88):
        y[peak] = 1.0
    assert {17, 53, 88} <= set(curves.thinned(range(100), y, 24))


def test_a_smoothed_curve_starts_at_its_value_and_follows() -> None:
    assert curves.smoothed([]) == []
    assert curves.smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    found = curves.smoothed([4.0, *[1.0] * 400])
    assert found[0] == 4.0
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.0, abs=1e-3)
