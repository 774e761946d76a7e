"""metrics.jsonl told to trackers: once each row, over attempts and jobs, whatever the tracker does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout, wait_for
from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

from node_agent_lib import trackers

AGENT = ROOT / "recipes" / "node_agent.py"
FAKE = """
import json, os, time
class Run:
    def log(self, row, step):
        if os.environ.get("FAKE") == "fails" and step == 1:
            raise RuntimeError("no space left on the server")
        with open(os.environ["FAKE_LOG"], "a") as file:
            file.write(json.dumps([step, row]) + "\\n")
    def finish(self):
        with open(os.environ["FAKE_LOG"], "a") as file:
            file.write('"finished"\\n')
def init(project, name):
    if os.environ.get("FAKE") == "hangs":
        time.sleep(600)
    with open(os.environ["FAKE_LOG"], "a") as file:
        file.write(json.dumps(["init", project, name]) + "\\n")
    return Run()
"""
Tell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """One attempt's process, which finds these rows and the end of its standard input."""
    (tmp_path / "wandb.py").write_text(FAKE)
    (tmp_path / "run").mkdir()

    def run(job: str, *lines: str, target: str = "wandb:p", **variables: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / job
        folder.mkdir(exist_ok=True)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("".join(lines))
        environ = {**os.environ, "PYTHONPATH": str(tmp_path), "FAKE_LOG": str(tmp_path / "log"), **variables}
        command = [sys.executable, str(AGENT), "track", target, str(folder), str(tmp_path / "run"), "r"]
        return subprocess.run(
            command, env=environ, input="", capture_output=True, text=True, check=False, timeout=LIMIT_S
        )

    return run


def _row(step: int, **more: Any) -> str:
    return json.dumps({"time": 5.0, "step": step, **more}, ensure_ascii=False) + "\n"


def _told(tmp_path: Path) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


def test_each_row_once_over_attempts_and_jobs(tell: Tell, tmp_path: Path) -> None:
    tell("r.1", _row(0, loss=2.0), "no json\n", '{"step": 1}\n', _row(1, loss=1.5)[:-1])  # a line that is being written
    tell("r.1", "\n", _row(2, loss=1.0))
    tell("r.1")
    tell("r.2", _row(3, loss=0.5))
    steps = [told for told in _told(tmp_path) if told != "finished" and told[0] != "init"]
    assert steps == [[0, {"loss": 2.0}], [1, {"loss": 1.5}], [2, {"loss": 1.0}], [3, {"loss": 0.5}]]
    assert _told(tmp_path)[0] == ["init", "p", "r"]
    assert _told(tmp_path).count("finished") == 4


def test_what_tells_no_step_is_passed_over_however_long(tell: Tell, tmp_path: Path) -> None:
    noise = ('{"event": "' + "told " * 200 + '"}\n') * 9_000  # more than is read at once
    assert (
        tell("r.1", noise, _row(0, loss=2.0), "x" * (9 << 20), "\n", _row(1, val_loss=1.5, name="a\u2028b")).returncode
        == 0
    )
    assert tell("r.1", noise, _row(2, loss=1.0)).returncode == 0
    steps = [told for told in _told(tmp_path) if told != "finished" and told[0] != "init"]
    assert steps == [[0, {"loss": 2.0}], [1, {"val_loss/a\u2028b": 1.5}], [2, {"loss": 1.0}]]


def test_what_is_a_number() -> None:
    row = {
        "step": 1,
        "time": 2.0,
        "name": "code",
        "val_loss": 1,
        "ok": True,
        "lr": None,
        "text": "x",
        "inf": float("inf"),
    }
    assert trackers.numbers(row) == {"val_loss/code": 1.0}
    assert trackers.numbers({"name": "default", "val_loss": 2.5}) == {"val_loss": 2.5}


def test_a_tracker_that_fails_says_so_and_is_told_the_row_again(tell: Tell, tmp_path: Path) -> None:
    failed = tell("r.1", _row(0, loss=2.0), _row(1, loss=1.5), FAKE="fails")
    assert failed.returncode == 1
    assert failed.stderr == "track wandb:p: RuntimeError: no space left on the server; the job goes on without\n"
    assert tell("r.1").returncode == 0
    assert [1, {"loss": 1.5}] in _told(tmp_path)


def test_a_package_that_is_not_there(tell: Tell) -> None:
    missing = tell("r.1", _row(0, loss=2.0), target="mlflow:e", PYTHONPATH="")
    if missing.returncode == 0:
        pytest.skip("MLflow is installed")
    assert "track mlflow:e: ModuleNotFoundError: No module named 'mlflow'" in missing.stderr


@pytest.mark.parametrize("text", ["", "[]", '{"taken": 5}', '{"id": 7, "taken": {"r.1": "x"}}'])
def test_a_damaged_position_begins_anew(tell: Tell, tmp_path: Path, text: str) -> None:
    (tmp_path / "run/tracked-wandb.json").write_text(text)
    assert tell("r.1", _row(0, loss=2.0)).returncode == 0
    assert [0, {"loss": 2.0}] in _told(tmp_path)


@pytest.mark.e2e
def test_a_job_does_not_wait_for_a_tracker_that_hangs(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text(FAKE)
    (tmp_path / "other").mkdir()
    variables = f'env_vars = {{ PYTHONPATH = "{tmp_path}", FAKE_LOG = "{tmp_path}/log" }}\ntrack = ["wandb:p"]\n'
    env = (checkout.root / "env.toml").read_text()
    (checkout.root / "env.toml").write_text(env + variables)
    done = checkout.run("stub-one", "--run", "local", "--name", "a", "run.env.nproc_per_node=1")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: "finished" in _told(tmp_path))  # a job waits for some seconds only
    told = _told(tmp_path)
    assert [row[0] for row in told if isinstance(row, list)] == ["init", 0, 1]
    assert told[0] == ["init", "p", "a"]
    assert told[-1] == "finished"
    (checkout.root / "env.toml").write_text((env + variables).replace("FAKE_LOG", 'FAKE = "hangs", FAKE_LOG'))
    hung = checkout.run("stub-one", "--run", "local", "--name", "b", "run.env.nproc_per_node=1")
    assert hung.returncode == 0, hung.stderr
    assert (
        "track wandb:p: has not ended, and is left behind" in (checkout.root / "runs/b.1/logs/agent-0.log").read_text()
    )


def _two(tmp_path: Path, target: str) -> None:
    """Two attempts with the real package."""
    (tmp_path / "run").mkdir()
    for number in (1, 2):
        folder = tmp_path / f"r.{number}"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(_row(number, loss=1.0 * number))
        environ = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        command = [sys.executable, str(AGENT), "track", target, str(folder), str(tmp_path / "run"), "r"]
        done = subprocess.run(command, env=environ, input="", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_with_mlflow_itself(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    _two(tmp_path, "mlflow:e")
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("SELECT count(*), max(status) FROM runs").fetchone() == (1, "FINISHED")
        assert database.execute("SELECT step, value FROM metrics ORDER BY step").fetchall() == [(1, 1.0), (2, 2.0)]


@pytest.mark.slow
def test_with_tensorboard_itself(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _two(tmp_path, "tensorboard")
    found = loader.EventAccumulator(str(tmp_path / "run/tensorboard/r"))
    found.Reload()
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [(1, 1.0), (2, 2.0)]
