"""Rows of metrics that cannot be true: they hide nothing, and what goes back and is true still does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import strays
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import speed
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.report import joining, reading


@pytest.mark.parametrize(
    ("steps", "starts", "expected"),
    [
        ([7, 8, 9, 1], (), [3]),  # nobody can tell yet: the next one does
        ([7, 8, 9, 1, 10], (), [3]),
        ([7, 8, 9, 1], (3,), []),  # another attempt
        ([97, 98, 99, 60, 61], (), []),  # ranks that were started again within one
        ([97, 98, 99, 60, 61, 99, 100], (), []),
        ([80, 90, 100, 60, 70, 80, 90, 100, 110], (), []),
        ([97, 98, 99, 2, 3, 100], (), [3, 4]),  # two, from which nobody goes on
        ([97, 98, 99, 3, 2, 100], (), [3, 4]),
        ([97, 98, 99, 50, 51, 40, 41], (), []),
        ([97, 98, 98, 99], (), []),
        ([1, 2, 10**12, 3, 4, 5], (), []),  # the large one has been gone back behind
        ([5, 1, 2, 1, 6], (1,), [3]),
        ([], (), []),
        ([4], (0,), []),
    ],
)
def test_which_rows_cannot_be_true(steps: list[float], starts: tuple[int, ...], expected: list[int]) -> None:
    assert strays.strays(steps, starts) == expected


def _job(root: Path, steps: list[int], begun: list[float]) -> Record:
    """A job whose metrics have these steps, a second each from 100 s on, and whose attempts began then."""
    words: dict[str, Any] = dict.fromkeys(("recipe", "config", "profile", "executor", "mode", "plan_hash"), "local")
    record = Record("x.1", "x", job_dir=f"{root}/x.1", run_dir=f"{root}/x", submitted=0.0, **words)
    rows: list[dict[str, Any]] = [{"time": 100.0 + n, "step": step, "loss": 5.0} for n, step in enumerate(steps)]
    rows += [{"time": 200.0 + n, "step": step, "val_loss": 4.0} for n, step in enumerate(steps)]
    told = [{"event": "begun", "job_id": "x.1", "attempt": n, "time": when} for n, when in enumerate(begun)]
    for path, lines in (("x.1/metrics.jsonl", rows), ("x/history.jsonl", told)):
        Path(root, path).parent.mkdir()
        Path(root, path).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return record


def test_every_reader_passes_over_them(tmp_path: Path) -> None:
    record = _job(tmp_path, [*range(20), 3], [50.0])
    joined = joining.join(reading.read(record, LOCAL))
    rows = list(joining.rows(joined))
    assert [row["step"] for row in rows] == list(range(20))
    assert all(row["val_loss"] == 4.0 for row in rows)
    last = JobDir(record.job_dir).last_metrics(50.0)
    assert last is not None and last["step"] == 19
    found = speed.rows(Path(record.job_dir, "metrics.jsonl").read_bytes(), whole=True)
    now = speed.of(record, Status("RUNNING", started=50.0), found, 300.0)
    assert (now.step, now.val_step) == (19, 19)


def test_a_further_attempt_is_believed_at_its_first_row(tmp_path: Path) -> None:
    record = _job(tmp_path, [*range(20), 3], [50.0, 119.5])
    assert [row["step"] for row in joining.rows(joining.join(reading.read(record, LOCAL))) if "loss" in row] == [
        *range(4)
    ]
    last = JobDir(record.job_dir).last_metrics(119.5)
    assert last is not None and last["step"] == 3
