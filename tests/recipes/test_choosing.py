"""Which point of a sweep is the best, by what its jobs have left on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import choosing, predecessors

from automodel_launch import contract
from automodel_launch.report import ranking

Row = Mapping[str, Any]


def _run(root: Path, name: str, *jobs: Sequence[Row], state: str = "COMPLETED") -> dict[str, Any]:
    (root / name).mkdir(parents=True)
    ends: list[Row] = []
    for number, rows in enumerate(jobs, 1):
        job = f"{name}.{number}"
        (root / job).mkdir()
        (root / job / contract.METRICS).write_text("".join(json.dumps({"time": 1.0, **row}) + "\n" for row in rows))
        ends.append({"event": "begun", "time": 1, "job_id": job, "attempt": 0})
        last = state if number == len(jobs) else "FAILED"
        ends.append({"event": "ended", "time": 2, "job_id": job, "attempt": 0, "state": last})
    (root / name / contract.HISTORY).write_text("".join(json.dumps(row) + "\n" for row in ends))
    return {"run_name": name, "run_dir": f"{root}/{name}"}


def _settle(root: Path, runs: Sequence[Row], **more: Any) -> str | None:
    choice = dict.fromkeys(contract.CHOICE_KEYS) | {"sweep": "s", "link": f"{root}/s/best", "highest": False}
    choice |= {"all": True, "runs": list(runs), **more}
    (root / "taker").mkdir(exist_ok=True)
    (root / "taker" / contract.CHOICES).write_text(json.dumps({"choices": [choice]}))
    return choosing.settle(f"{root}/taker")


def _steps(*losses: float | None, first: int = 0) -> list[Row]:
    return [{"step": step, "loss": loss, "acc": step} for step, loss in enumerate(losses, first)]


def _best(root: Path) -> str:
    return (root / "s" / "best").resolve().name


def test_the_last_value_that_counts_decides(tmp_path: Path) -> None:
    """Not the lowest on the way, nor one that a later attempt has gone back behind, nor a loss that has become NaN."""
    runs = [
        _run(tmp_path, "rose", _steps(3, 1, 4)),
        _run(tmp_path, "again", _steps(5, 4, 1), _steps(4.5, 3.5, first=1)),
        _run(tmp_path, "nan", _steps(3, None)),
        _run(tmp_path, "infinite", _steps(3, float("inf"))),
        _run(tmp_path, "none", []),
    ]
    assert _settle(tmp_path, runs) is None
    told = json.loads((tmp_path / "s" / "best.json").read_text())
    assert (_best(tmp_path), told["value"], told["step"], told["metric"]) == ("again", 3.5, 2, "loss")
    assert told["points"] == {"rose": 4.0, "again": 3.5}
    assert (tmp_path / "s" / "best").readlink() == Path("../again")
    assert _settle(tmp_path, runs, metric="acc", highest=True) is None
    assert _best(tmp_path) == "rose"  # the first of equals
    assert not ranking.HIGHEST.search("loss") and ranking.HIGHEST.search("acc")


def test_the_loss_of_a_validation_comes_before_that_of_training(tmp_path: Path) -> None:
    held_out: list[Row] = [
        {"step": 1, "val_loss": 2.0, "name": "default"},
        {"step": 1, "val_loss": 1.0, "name": "code"},
    ]
    other: list[Row] = [{"step": 1, "val_loss": 3.0}, {"step": 1, "val_loss": 0.5, "name": "code"}]
    runs = [_run(tmp_path, "a", [*_steps(9, 9), *held_out]), _run(tmp_path, "b", [*_steps(1, 1), *other])]
    assert _settle(tmp_path, runs) is None
    assert _best(tmp_path) == "a"
    assert _settle(tmp_path, runs, metric="val_loss/code") is None
    assert _best(tmp_path) == "b"
    refused = _settle(tmp_path, runs, metric="accuracy")
    assert refused == (
        "sweep s: no point that has completed has a number as accuracy; they logged acc, loss, val_loss, val_loss/code"
    )


def test_a_validation_of_no_token_chooses_nothing(tmp_path: Path) -> None:
    """With a loss of 0.0, as AutoModel tells it, and with none, as the agent writes it."""
    held_out: list[Row] = [{"step": 1, "val_loss": loss, "num_label_tokens": 0} for loss in (0.0, None)]
    runs = [_run(tmp_path, "a", [*_steps(9, 9), *held_out]), _run(tmp_path, "b", [*_steps(1, 1), *held_out[1:]])]
    assert _settle(tmp_path, runs) is None
    assert _best(tmp_path) == "b"
    runs.append(_run(tmp_path, "c", [*_steps(8, 8), {"step": 1, "val_loss": 3.0, "num_label_tokens": 9}]))
    assert _settle(tmp_path, runs) is None
    assert _best(tmp_path) == "c"


def test_points_that_have_not_completed(tmp_path: Path) -> None:
    """Refused, unless those that have will do; and one that goes on is no point that has failed."""
    runs = [_run(tmp_path, "good", _steps(3)), _run(tmp_path, "bad", _steps(1), state="FAILED")]
    assert _settle(tmp_path, runs) == "sweep s has not completed: bad"
    assert not (tmp_path / "s").exists()
    assert _settle(tmp_path, runs, all=False) is None
    assert _best(tmp_path) == "good"
    assert _settle(tmp_path, runs[1:], all=False) == "sweep s has not completed: none of its points has: bad"
    assert _settle(tmp_path, runs[1:], all=False, link=None) is not None
    assert _settle(tmp_path, runs[:1], link=None) is None


@pytest.mark.parametrize("takes", [True, False])
def test_a_failure_is_an_end_for_those_that_take_it(tmp_path: Path, takes: bool) -> None:
    run = {**_run(tmp_path, "bad", _steps(1), state="FAILED"), "job_id": "bad.1", "job_dir": f"{tmp_path}/bad.1"}
    run |= {"history_bytes": 0, **({contract.ANY_END: True} if takes else {})}
    (tmp_path / "taker").mkdir()
    job = str(tmp_path / "taker")
    (tmp_path / "taker" / contract.PREDECESSORS).write_text(json.dumps({"runs": [run]}))
    assert predecessors.takes_failure(job, run["run_dir"]) is takes
    assert not predecessors.takes_failure(job, f"{tmp_path}/other")
    assert len(predecessors.unfinished(job)) == 1
    predecessors.note_failure(job, run["run_dir"])
    assert len(predecessors.unfinished(job)) == (0 if takes else 1)
