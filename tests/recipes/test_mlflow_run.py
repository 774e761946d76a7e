"""One run of MLflow over all attempts with Megatron-Bridge, whose calls these are (training/state.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.recipes.bridge_fixtures import PYTHON
from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

import contract
from bridge_lib import command, mlflow_run, training

LOGGER = SimpleNamespace(mlflow_experiment="e")
ATTEMPT = """
import json, sys
from types import SimpleNamespace
import mlflow
from bridge_lib import mlflow_run
steps, length = json.loads(sys.argv[1]), sys.argv[2]
mlflow_run.keep_one(SimpleNamespace(mlflow_experiment="e"))
mlflow.set_experiment("e")
if mlflow.active_run() is None:
    mlflow.start_run(run_name="r", tags={"a": "b"})
mlflow.log_params({"train_iters": length, f"only_{length}": 1})
for step in steps:
    mlflow.log_metrics({"lm loss": 1.0 * step}, step=step)
run = mlflow.active_run().info.run_id
mlflow.end_run()
data = mlflow.get_run(run).data
print(json.dumps([run, data.params, [each.step for each in mlflow.MlflowClient().get_metric_history(run, "lm loss")]]))
if len(sys.argv) > 3:
    mlflow.delete_run(run)
"""


class Error(Exception):
    """MLflow's."""


class Mlflow:
    """MLflow, as far as a run's id goes: runs by id, with their parameters."""

    exceptions = SimpleNamespace(MlflowException=Error)

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.active: str | None = None
        self.tags: Any = None

    def start_run(self, run_name: str, tags: Any = None) -> Any:
        self.tags = tags
        wanted = os.environ.get("MLFLOW_RUN_ID")
        if wanted is not None and wanted not in self.runs:
            raise Error(f"Run '{wanted}' not found")
        self.active = wanted or f"id-{len(self.runs)}"
        self.runs.setdefault(self.active, {})
        return self.active_run()

    def set_tags(self, tags: Any) -> None:
        self.tags = tags

    def active_run(self) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=self.active))

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(params=self.runs[run_id]))

    def log_params(self, params: dict[str, Any]) -> None:
        known = self.runs[self.active or ""]
        if any(known.get(key, value) != value for key, value in params.items()):
            raise Error("Changing param values is not allowed")
        known.update(params)


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An attempt in a process of its own, on a server that stays: the id of its run."""
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv(contract.RUN_DIR_VAR, str(tmp_path))
    server = Mlflow()

    def begin(**params: Any) -> str:
        client = Mlflow()
        client.runs = server.runs
        monkeypatch.setitem(sys.modules, "mlflow", client)
        mlflow_run.keep_one(LOGGER)
        client.start_run("r")
        client.log_params(params)
        return str(client.active)

    begin.server = server  # type: ignore[attr-defined]
    return begin


def test_attempts_continue_one_run_and_new_parameters_join_it(attempt: Any) -> None:
    first = attempt(train_iters=10, a=1)
    assert attempt(train_iters=20, b=2) == first
    assert attempt.server.runs == {first: {"train_iters": 10, "a": 1, "b": 2}}
    assert "MLFLOW_RUN_ID" not in os.environ


def test_a_run_that_is_gone_is_replaced(attempt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    attempt.server.runs["other"] = {}
    first = attempt()
    del attempt.server.runs[first]
    attempt.server.runs["another"] = {}
    second = attempt()
    assert second != first
    assert f"MLflow's run {first} cannot be continued" in capsys.readouterr().out
    assert attempt() == second


def test_no_secret_becomes_a_parameter_or_tag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Megatron-Bridge flattens its configuration, resolved, and makes strings of lists (mlflow_logger of state.py)."""
    secret, client = "acme-0123456789-token", Mlflow()
    path = tmp_path / "config.yaml"
    path.write_text(
        "recipe: a_pretrain_config\n"
        "logger: {mlflow_experiment: e, mlflow_tags: {own: '${oc.env:ACME_TOKEN}', plain: x}}\n"
        "dataset: {token: '${oc.env:ACME_TOKEN}', pin: '${oc.env:DOOR_KEY}', all: ['${oc.env:DOOR_KEY}'], size: 3}\n"
    )
    for name, value in (("ACME_TOKEN", secret), ("DOOR_KEY", "1234"), (contract.RUN_DIR_VAR, str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "mlflow", client)
    logger = SimpleNamespace(wandb_project=None, mlflow_experiment="e")
    monkeypatch.setattr(command, "_prepare", lambda order, _: (SimpleNamespace(logger=logger, order=order), None))

    def run(config: Any, _: Any) -> int:
        """As Megatron-Bridge calls MLflow."""
        mlflow_run.keep_one(config.logger)
        sections = config.order.sections
        client.start_run(run_name="r", tags=sections["logger"]["mlflow_tags"])
        data = {f"dataset.{key}": value for key, value in sections["dataset"].items()}
        client.log_params({**data, "dataset.all": str(data["dataset.all"]), "checkpoint.copied": f"at {secret}"})
        return 0

    monkeypatch.setattr(training, "run", run)
    assert command.main(["--config", str(path)]) == 0
    token, key = "${oc.env:ACME_TOKEN}", "${oc.env:DOOR_KEY}"
    told = {"dataset.token": token, "dataset.pin": key, "dataset.all": f"['{key}']", "dataset.size": 3}
    assert client.runs == {client.active: {**told, "checkpoint.copied": f"at {token}"}}
    assert client.tags == {"own": token, "plain": "x"}


@pytest.mark.parametrize("text", ["", "\xff\n", "  \n"])
def test_a_file_that_holds_no_id(attempt: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / mlflow_run.KEPT).write_bytes(text.encode("latin-1"))
    first = attempt()
    assert (tmp_path / mlflow_run.KEPT).read_text() == f"{first}\n"


@pytest.mark.parametrize("why", ["no experiment", "own id", "no run", "not the last rank"])
def test_nothing_is_touched_where_it_is_not_asked_for(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", client)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in (("RANK", "1"), (contract.RUN_DIR_VAR, str(tmp_path)), ("MLFLOW_RUN_ID", "")):
        monkeypatch.setenv(name, value)
    changed = {
        "own id": ("MLFLOW_RUN_ID", "mine"),
        "no run": (contract.RUN_DIR_VAR, ""),
        "not the last rank": ("RANK", "0"),
    }
    if why in changed:
        monkeypatch.setenv(*changed[why])
    mlflow_run.keep_one(SimpleNamespace(mlflow_experiment=None if why == "no experiment" else "e"))
    assert "start_run" not in vars(client)


def test_megatron_bridge_calls_it_as_this_takes_over() -> None:
    """Where this changes, so must bridge_lib/mlflow_run.py."""
    found = list(PYTHON.parents[1].glob("lib/python3*/site-packages/megatron/bridge/training/state.py"))
    if not found:
        pytest.skip("Megatron-Bridge is not installed")
    source = found[0].read_text()
    assert "mlflow.start_run(run_name=run_name, tags=tags or None)" in source
    assert "mlflow.log_params(stringified_params)" in source
    assert "get_rank_safe() == (get_world_size_safe() - 1)" in source
    assert "run_id" not in source.partition("def mlflow_logger")[2].partition("def timers")[0], "no longer needed?"


@pytest.mark.slow
def test_with_mlflow_itself(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "recipes"), contract.RUN_DIR_VAR: str(tmp_path)}
    environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}

    def attempt(*args: str) -> Any:
        command = [sys.executable, "-c", ATTEMPT, *args]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    first, _, steps = attempt("[0, 1]", "10")
    again, params, steps = attempt("[1, 2]", "20", "delete")
    assert again == first
    assert params == {"train_iters": "10", "only_10": "1", "only_20": "1"}
    assert sorted(set(steps)) == [0, 1, 2]
    third, _, _ = attempt("[3]", "20")
    assert third != first, "that one was deleted"
