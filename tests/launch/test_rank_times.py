"""A rank is named as slow where it is the slowest in all of the last samples, and by enough."""

from __future__ import annotations

import json
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.launch import profiling, rank_times


def _line(*times: float, step: int = 10, time: float = 100.0, **other: Any) -> bytes:
    ranks = [[rank, each] for rank, each in enumerate(times)]
    row = {"time": time, "step": step, "step_s": 1.0, "median_s": 0.2, "ranks": ranks, **other}
    return (json.dumps(row) + "\n").encode()


SLOW = _line(0.2, 0.2, 0.5)


def test_the_slowest_in_each_sample() -> None:
    found = rank_times.slow_rank(_line(0.9, 0.2, 0.2) + SLOW * rank_times.SAMPLES, 50.0, ["n1", "n2"], 2)
    assert found is not None
    assert (found.rank, round(found.lag_s, 3), found.node, found.local_rank) == (2, 0.3, "n2", 0)
    assert found.text == (
        "rank 2 (n2, local rank 0) is slow: the others wait for it, 0.3 s of each step (30%), in the last 5 samples"
    )


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        SLOW * 4,
        SLOW * 4 + _line(0.5, 0.2, 0.2),
        SLOW * 4 + _line(0.2, 0.2, 0.24),
        SLOW * 4 + b'{"time": 100',
        SLOW * 4 + _line(0.2, 0.2, 0.5, time=10.0),
        SLOW * 4 + b"[]\nnull\n\xff\n" + _line(0.5),
        SLOW * 4 + _line(step_s=None),
        SLOW * 4 + _line(0.2, 0.2, 0.5, ranks=[[1], "x"]),
        SLOW * 4 + _line(0.2, 0.2, 0.5, ranks=[[0, None], [1, 0.5]]),
    ],
)
def test_no_rank_stands_out(lines: bytes) -> None:
    assert rank_times.slow_rank(lines, 50.0, ["n1"], 3) is None


def test_where_it_is_may_not_be_known() -> None:
    found = rank_times.slow_rank(SLOW * rank_times.SAMPLES, 50.0, [], None)
    assert found is not None
    assert (found.node, found.local_rank) == (None, None)


def _row(rank: int, *outside: float) -> dict[str, Any]:
    return {"rank": rank, "step_s": 1.0, "outside_s": list(outside)}


def test_of_a_profile_it_is_the_slowest_in_each_step() -> None:
    found = profiling.slowest([_row(0, 0.2, 0.2), _row(1, 0.5, 0.6), _row(2, 0.3, 0.1)])
    assert found is not None
    assert found[0]["rank"] == 1
    assert round(found[1], 3) == 0.35  # the median of 0.5 - 0.25 and 0.6 - 0.15


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [_row(0, 0.2, 0.2)],
        [_row(0, 0.2), _row(1, 0.9)],
        [_row(0, 0.2, 0.9), _row(1, 0.9, 0.2)],
        [_row(0, 0.2, 0.2), _row(1, 0.24, 0.24)],
        [_row(0, 0.2, 0.2), {"rank": 1, "step_s": None, "outside_s": None, "error": "x"}],
    ],
)
def test_of_a_profile_in_which_none_does(rows: list[dict[str, Any]]) -> None:
    assert profiling.slowest(rows) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"rank": "0"}', '{"rank": true}', "\xff"],
)
def test_a_record_that_is_none(text: str) -> None:
    assert profiling.read_row(text.encode("latin-1")) is None


def test_a_record_with_odd_values_has_nulls() -> None:
    odd = {"rank": 3, "host": 5, "outside_s": [None], "step_s": "x", "trace": [], "bytes": "1", "more": 1}
    row = profiling.read_row(json.dumps(odd).encode())
    assert row == dict.fromkeys(contract.PROFILE_RANK_KEYS) | {"rank": 3}
