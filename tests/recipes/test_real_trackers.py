"""Weights & Biases and MLflow themselves: one run over all attempts, and its files in the run's directory.

They are no part of what the tests install: `bash scripts/setup.sh --trackers`, then `pytest -m slow` of this file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.backends import trackers
from automodel_launch.backends.trackers import Use
from tests.recipes.pretrain_fixtures import PRETRAIN, SMALL, write_config

pytestmark = pytest.mark.slow
pytest.importorskip("wandb")
pytest.importorskip("mlflow")

SECTIONS = {"wandb": {"project": "p", "mode": "offline"}, "mlflow": {"experiment_name": "e", "run_name": "r"}}


def train(run: Path, data_dir: Path, code: Path, steps: int) -> None:
    """One attempt, in a directory in which nothing may be left."""
    scheduler: dict[str, Any] = dict(SMALL["step_scheduler"])  # type: ignore[call-overload]
    changes = SMALL | SECTIONS | {"step_scheduler": scheduler | {"max_steps": steps}}
    config = write_config("tiny", run, data_dir, changes)
    uses = [Use("wandb", "wandb"), Use("mlflow", "mlflow")]
    variables = trackers.environment(uses, run.name, str(run), "here")
    command = [sys.executable, PRETRAIN, "--config", str(config)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "LAUNCH_RUN_DIR": str(run), **variables}
    environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29571"}
    done = subprocess.run(command, cwd=code, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_attempts_are_one_run(tmp_path: Path, data_dir: Path) -> None:
    run, code = tmp_path / "run", tmp_path / "code"
    code.mkdir()
    train(run, data_dir, code, 6)
    train(run, data_dir, code, 12)
    assert list(code.iterdir()) == []

    parts = sorted(path.name for path in (run / "wandb").glob("offline-run-*"))
    assert len(parts) == 2, "one directory an attempt, which `wandb sync` puts together by the id"
    assert len({name.split("-", 3)[3] for name in parts}) == 1

    with sqlite3.connect(run / "mlflow.db") as database:
        (uri,) = database.execute("SELECT artifact_uri FROM runs").fetchall()[0]
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        steps = {row[0] for row in database.execute("SELECT step FROM metrics WHERE key = 'loss'")}
    assert steps == set(range(12))
    assert str(uri).startswith(f"{run}/mlartifacts/")
    records = [json.loads(line) for line in (run / "checkpoints" / "training.jsonl").read_text().splitlines()]
    assert {record["step"] for record in records} == steps
