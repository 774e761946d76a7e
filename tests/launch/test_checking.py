"""What would refuse a launch is told beforehand: by the dry run, `check` and the Python API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import automodel_launch as al
from automodel_launch.errors import ClusterError
from automodel_launch.executors import local
from automodel_launch.jobs import claims, launcher
from automodel_launch.launch import checking
from automodel_launch.launch.submit import record_of
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LOCAL
from tests.workbench import Bench, make_bench

FAR = '[far]\nexecutor = "slurm"\naccount = "a"\nnodes = 1\ngpus_per_node = 1\ncontainer_image = "none"\n'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("automodel_launch.executors.slurm.executor.Slurm.script", lambda self, plan: "")
    bench = make_bench(tmp_path)
    bench.env(FAR)
    return bench


def _claim(plan: Plan, **changes: Any) -> None:
    """A launcher of another checkout has claimed the run; this process stands for it."""
    record = replace(record_of(plan, {}), job_id=f"{plan.run_name}.7", **changes)
    assert claims.make(record, None, LOCAL) is not None


def _active(plan: Plan, offline: bool = False) -> list[Finding]:
    return [finding for finding in checking.run(plan, offline) if finding.code == "run-active"]


@pytest.mark.parametrize("offline", [False, True])
def test_another_job_of_the_run_is_a_finding(bench: Bench, offline: bool) -> None:
    plan = bench.plan()
    assert _active(plan, offline) == []
    _claim(plan)
    (found,) = _active(plan, offline)
    assert found.level == "error" and f"{plan.run_name}.7 of this run" in found.message
    assert f"attach {plan.run_name}.7" in str(found.fix) and "--fresh" in str(found.fix)
    assert [f.code for f in al.check(plan, offline=True)].count("run-active") == 1
    assert _active(bench.plan(fresh=True), offline) == [], "a run of its own"
    assert claims.newest(plan.run_dir, LOCAL) is not None, "a look takes nothing over"


def test_one_that_is_over_is_none(bench: Bench) -> None:
    plan = bench.plan()
    _claim(plan, launcher={**launcher.this(), "pid": 2**22 + 1, "start": 1})
    assert _active(plan) == []


def test_offline_asks_no_cluster_for_it(bench: Bench) -> None:
    plan = bench.plan(profile="far")
    _claim(plan)
    assert _active(plan, offline=True) == []


def test_one_that_cannot_be_told_is_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = bench.plan()

    def silent(*args: object) -> None:
        raise ClusterError("no answer")

    monkeypatch.setattr(local.LocalMachine, "find", silent)
    _claim(plan, launcher={**launcher.this(), "pid": 2**22 + 1, "start": 1})
    (found,) = _active(plan)
    assert found.level == "warning" and "cannot be told: no answer" in found.message
