"""The run's directory: what a run was begun with, and whether a later launch is of the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.commands import run_state
from automodel_launch.jobs import rundir
from tests.workbench import Bench, make_bench

BEGUN: dict[str, Any] = {"a": {"b": 1, "list": [1, 2]}, "c": "x", "none": None}


@pytest.mark.parametrize(
    ("now", "different"),
    [
        (BEGUN, []),
        ({**BEGUN, "c": "y"}, ["c"]),
        ({**BEGUN, "a": {"b": 2, "list": [2, 1]}}, ["a.b", "a.list"]),
        ({key: value for key, value in BEGUN.items() if key != "c"}, ["c"]),
        ({**BEGUN, "more": {"d": 0}}, ["more.d"]),
        ({**BEGUN, "a": {"b": 1, "list": (1, 2)}}, []),
    ],
)
def test_what_differs_from_what_the_run_was_begun_with(
    tmp_path: Path, now: dict[str, Any], different: list[str]
) -> None:
    run = str(tmp_path / "run")
    assert rundir.differences(run, now) == [], "a run that is not there yet"
    rundir.begin(run, now)  # its job was refused: it has trained nothing
    assert rundir.differences(run, BEGUN) == []
    rundir.begin(run, BEGUN, world_size=2)
    Path(run, "history.jsonl").write_text("")  # its first job has begun
    assert rundir.differences(run, now) == different
    rundir.begin(run, now)  # its later jobs change nothing of it
    assert rundir.differences(run, now) == different
    assert rundir.world_size(run) == 2


def test_other_settings_are_found_and_are_not_finished(tmp_path: Path) -> None:
    bench: Bench = make_bench(tmp_path)
    plan = bench.plan("steps=3", name="r")
    rundir.begin(plan.run_dir, plan.trained)
    Path(plan.run_dir, "finished.json").write_text(json.dumps({"step": 10**6, "checkpoint": None}))
    assert [f for f in checks.run(plan) if f.code == "run-differs"] == []
    assert run_state.finished(plan, offline=True) is not None
    other = bench.plan("steps=4", "pause=0.5", name="r")
    (finding,) = [f for f in checks.run(other) if f.code == "run-differs"]
    assert finding.level == "warning" and "pause, steps" in finding.message
    assert run_state.finished(other, offline=True) is None
