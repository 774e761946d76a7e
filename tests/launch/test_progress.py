"""The live line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs.jobdir import WAITS_FOR_AGENT, JobDir
from automodel_launch.launch.progress import WINDOW, Progress


def _add(progress: Progress, step: int, **values: Any) -> None:
    progress.add(json.dumps({"step": step, "time": 10.0 * step, "loss": 5.0, "tps": 1000.0, **values}))


def test_before_the_first_step() -> None:
    assert "waiting" in Progress(10).line()


def test_before_the_first_step_it_says_what_the_job_is_at() -> None:
    progress = Progress(10)
    progress.note_phase(("compiling the data helper", 34.0))
    assert progress.line().startswith("waiting for the first step: compiling the data helper, 3")
    since = progress.phase_since
    progress.note_phase(("compiling the data helper", 30.0))
    assert progress.phase_since == since, "a heartbeat is slow: the clock goes on"
    progress.note_phase(None)
    assert progress.line().startswith("waiting for the first step, ")


def test_the_jobs_directory_tells_its_phase(tmp_path: Path) -> None:
    job = JobDir(tmp_path)
    assert job.phase() == (WAITS_FOR_AGENT, None)
    (tmp_path / "nodes").mkdir()
    node = {"state": "running", "phase": "validation", "phase_since": 100.0, "time": 134.0}
    (tmp_path / "nodes" / "0.json").write_text(json.dumps(node))
    assert job.phase() == ("validation", 34.0)
    for other in ({"phase": None}, {"state": "ended"}):
        (tmp_path / "nodes" / "0.json").write_text(json.dumps(node | other))
        assert job.phase() is None


def test_step_loss_pace_and_time_left() -> None:
    progress = Progress(100)
    for step in range(10):
        _add(progress, step, loss=9.0 - step, tps=12345.6)
    line = progress.line()
    for part in ("step 10/100", "loss 0.0000", "12,346 tokens/s", "0:15:00 left"):
        assert part in line


@pytest.mark.parametrize(("steps", "left"), [(10_000, "27:46:20"), (2, "0:00:00"), (1, "0:00:00"), (8, "0:01:00")])
def test_time_left(steps: int, left: str) -> None:
    progress = Progress(steps)
    _add(progress, 0)
    _add(progress, 1)
    assert f"{left} left" in progress.line()


def test_the_pace_is_that_of_the_last_steps() -> None:
    progress = Progress(1000)
    _add(progress, 0, time=-100_000.0)
    for step in range(1, WINDOW + 1):
        _add(progress, step)
    assert f"{(1000 - WINDOW - 1) * 10 // 60 // 60}:" in progress.line().rpartition("  ")[2]


def test_a_resumed_run_counts_on() -> None:
    progress = Progress(100)
    for step in range(50, 60):
        _add(progress, step)
    assert "step 60/100" in progress.line()
    assert "0:06:40 left" in progress.line()


def test_without_a_known_end() -> None:
    progress = Progress(None)
    _add(progress, 0)
    _add(progress, 1)
    assert "step 2 " in progress.line()
    assert "left" not in progress.line()


@pytest.mark.parametrize("loss", [None, float("nan")])
def test_a_loss_that_is_no_number_is_said(loss: float | None) -> None:
    progress = Progress(10)
    _add(progress, 0, loss=loss)
    assert "loss nan" in progress.line()


@pytest.mark.parametrize("tps", [None, 0, float("nan"), float("inf")])
def test_an_odd_pace(tps: float | None) -> None:
    progress = Progress(10)
    _add(progress, 0, tps=tps)
    assert "step 1/10" in progress.line()


@pytest.mark.parametrize(
    "line",
    ["", "x", "{", "[]", "5", "null", '{"step": 5, "val_loss": 1.0}', '{"tps": 5.0}', '{"tps": 5, "step": null}'],
)
def test_other_lines_are_left_aside(line: str) -> None:
    progress = Progress(10)
    progress.add(line)
    assert "waiting" in progress.line()
    _add(progress, 0)
    progress.add(line)
    assert "step 1/10" in progress.line()


def test_two_steps_in_one_moment() -> None:
    progress = Progress(10)
    _add(progress, 0, time=1.0)
    _add(progress, 1, time=1.0)
    _add(progress, 1, time=2.0)
    assert "step 2/10" in progress.line()
