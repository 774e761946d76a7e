"""Targets in the user's own code: does the file travel, and has it the name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch.backends.automodel.checks import targets
from automodel_launch.checks import Finding
from tests.backends.automodel.test_checks_schema import changed
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path).trains()
    (bench.root / "my_models").mkdir()
    (bench.root / "my_models" / "own.py").write_text("import torch\n\nclass Build:\n    pass\n")
    return bench


def _found(bench: Bench, target: str, env: str = "") -> list[Finding]:
    bench.env(env)
    plan = bench.planned(json.dumps(changed("optimizer", {"_target_": target, "lr": 1.0})))
    return list(targets.exist(plan))


CODE = 'code = ["my_models"]\n'


@pytest.mark.parametrize(
    "target", ["my_models/own.py:Build", "./my_models/own.py:Build", "elsewhere.Thing", "dion.Muon"]
)
def test_what_travels_or_is_not_ours_is_fine(bench: Bench, target: str) -> None:
    assert _found(bench, target, CODE) == []


@pytest.mark.parametrize(
    ("target", "env", "code", "words"),
    [
        ("my_models/own.py:Build", "", "stays-here", 'code = ["my_models"]'),
        ("my_models/other.py:Build", CODE, "stays-here", "my_models/other.py does not travel"),
        ("my_models/own.py:Buidl", CODE, "unknown-target", "Did you mean 'Build'?"),
        ("my_models/own:Build", CODE, "unknown-target", ".py file"),
        ("/nowhere/own.py:Build", CODE, "unknown-target", "/nowhere/own.py does not exist"),
        ("my_models.own.Build", CODE, "unknown-target", "my_models/own.py:Build"),
    ],
)
def test_what_the_job_would_not_find(bench: Bench, target: str, env: str, code: str, words: str) -> None:
    found = _found(bench, target, env)
    assert [f.code for f in found] == [code]
    assert words in f"{found[0].message} {found[0].fix}"


@pytest.mark.parametrize(
    "line",
    [
        'env_vars = { PYTHONPATH = "." }',
        'setup_lines = "export PYTHONPATH=$PWD"',
        'setup_lines = ["source setup.sh"]',
        'startup_commands = ["export PYTHONPATH=$PWD"]',
        'startup_commands = ["cd .. && . env.sh"]',
    ],
)
def test_a_python_path_of_ones_own_is_trusted(bench: Bench, line: str) -> None:
    assert _found(bench, "my_models.own.Build", f"{CODE}{line}\n") == []


def test_so_is_that_of_this_shell_where_the_job_has_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert len(_found(bench, "my_models.own.Build", CODE)) == 1
    monkeypatch.setenv("PYTHONPATH", f"/nowhere:{bench.root}")
    assert _found(bench, "my_models.own.Build", CODE) == []
