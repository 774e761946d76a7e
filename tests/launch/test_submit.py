"""What is submitted is what was planned, and nothing of it stands where it does not belong."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.errors import ConfigError
from automodel_launch.executors import local
from automodel_launch.launch import submit
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LocalFileSystem
from tests.workbench import Bench, make_bench, refused

VALUE = "acme-0123456789-token"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize("when", ["before the copy", "while it is copied"])
def test_a_file_that_has_changed_since_the_plan_is_never_submitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    plan = bench.plan()
    script = bench.workspace.recipes / "stub.py"
    started: list[Plan] = []
    monkeypatch.setattr(local.LocalMachine, "submit", lambda self, plan, *rest: started.append(plan))
    put = LocalFileSystem.put

    def change_then_put(self: LocalFileSystem, *args: Any) -> None:
        script.write_text(script.read_text() + "# another\n")
        put(self, *args)

    if when == "before the copy":
        script.write_text(script.read_text() + "# another\n")
    else:
        monkeypatch.setattr(LocalFileSystem, "put", change_then_put)
    refused(
        ConfigError, lambda: submit.submit(plan, bench.workspace), str(script), "has changed", "nothing was submitted"
    )
    assert started == []
    assert not Path(plan.job_dir).exists(), "nothing of it stays"
    assert list(bench.workspace.records.glob("*.json")) == []


def test_nemo_runs_files_hold_no_value_of_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With serialize_metadata_for_scripts they would stand in its YAML (seen with nemo_run 0.11.1)."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    plan = bench.plan()
    monkeypatch.setattr(local, "_handle", lambda job_dir, known: {})
    environ = {**os.environ, "ACME_TOKEN": VALUE, "PLAIN": "a-value-of-the-caller"}
    submit.submit(plan, bench.workspace, environ)
    files = [path for path in bench.workspace.nemo_run_home.rglob("*") if path.is_file()]
    assert files, "NeMo-Run has written something"
    holding = [path.name for path in files if VALUE in path.read_text(errors="replace")]
    assert holding == []
