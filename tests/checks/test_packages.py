"""Packages that a config needs: looked for in the job's Python, here and on a login node."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from automodel_launch import backends
from automodel_launch.checks import machine
from automodel_launch.checks.places import slurm_python
from automodel_launch.plan.finding import Finding
from automodel_launch.remote import probes
from automodel_launch.remote.shell import LocalShell
from tests.workbench import SITE, Bench, make_bench

FUSED = "nemo_automodel.components.loss.linear_ce.FusedLinearCrossEntropy"
CONFIG = f"wandb: {{project: p}}\nloss_fn: {{_target_: {FUSED}}}\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("a: 1", []),
        ("wandb: {project: p}\nmlflow: {tags: 1}\ncomet: {project_name: p}", ["wandb", "mlflow", "comet_ml"]),
        ("wandb: {enable: false, project: p}\nmlflow: {}\ncomet: null", []),
        ("quantization: {load_in_4bit: true}\nfp8: {enabled: true}", ["bitsandbytes", "torchao"]),
        ("fp8: {enabled: false}\nquantization: null", []),
        (f"loss_fn: {{_target_: {FUSED}}}", ["cut_cross_entropy"]),
        ("model: {attn_implementation: flash_attention_2}", []),  # AutoModel falls back
        ("optimizer: {_target_: lion_pytorch.Lion}", []),  # which the loader refuses, in a rehearsal too
        ("loss_fn: {_target_: mine.FusedLoss}", []),
    ],
)  # fmt: skip
def test_what_a_config_needs(bench: Bench, text: str, modules: list[str]) -> None:
    config = yaml.safe_load(text)
    assert [need.module for need in backends.of(bench.recipe).packages(config)] == modules


def _here(bench: Bench, *texts: str) -> list[Finding]:
    plan = bench.planned(CONFIG, *texts)
    return [found for found in machine.packages(plan) if found.code == "missing-package"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_package_that_is_missing_here_is_an_error(bench: Bench, linked: bool, tmp_path: Path) -> None:
    """Asked of the launcher's own Python, and of another one."""
    (tmp_path / "python").symlink_to(sys.executable)
    found = _here(bench, *([f"run.env.python={tmp_path}/python"] if linked else []))
    assert [one.level for one in found] == ["error", "error"]
    assert "wandb (stub/t.yaml:1) needs the package wandb" in found[0].message
    assert "-m pip install wandb" in (found[0].fix or "")
    assert "cut-cross-entropy" in found[1].message


def test_one_that_travels_or_that_a_path_brings_is_there(bench: Bench) -> None:
    config = "comet: {project_name: p}\n"
    (bench.root / "comet_ml.py").write_text("")
    assert list(machine.packages(bench.planned(config, "run.env.code=[comet_ml.py]"))) == []
    assert list(machine.packages(bench.planned(config, "run.env.env_vars.PYTHONPATH=/mine"))) == []


@pytest.mark.parametrize(("name", "level"), [("venv/bin/python", "error"), ("", "warning")])
def test_on_a_login_node(bench: Bench, tmp_path: Path, name: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error where the nodes share it; pytest's directory, below /tmp, is none of a cluster's own."""
    monkeypatch.setattr("automodel_launch.executors.job_python.is_shared", lambda python: bool(name))
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    bench.env(f'[p]\n{SITE}container_image = "none"\npython = "{python}"\n')
    plan = bench.planned(CONFIG, profile="p", environ={"USER": "me", "HOME": "/root"}, offline=True)
    answers = probes.run(LocalShell(), {**slurm_python.asked(plan), **slurm_python.at_login(plan)})
    found = [one for one in slurm_python.answered(plan, answers) if one.code == "missing-package"]
    assert [one.level for one in found] == [level, level]
    assert "on the login node" in found[0].message


def test_a_tracker_of_the_profile_that_is_missing_is_a_warning(bench: Bench) -> None:
    plan = bench.planned("a: 1\n", "run.env.track=[tensorboard, 'mlflow:e']")
    found = [one for one in machine.packages(plan) if one.code == "missing-package"]
    assert [(one.level, "track (override run.env)" in one.message) for one in found] == [("warning", True)] * 2
    assert all("run.env.track=[]" in (one.fix or "") for one in found)
    assert plan.agent["track"] == ["tensorboard", "mlflow:e"]
    assert plan.agent["env"]["MLFLOW_TRACKING_URI"] == f"sqlite:///{plan.run_dir}/mlflow.db"
