"""Handing a script to sbatch, with commands that answer as Slurm's do when something is in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from automodel_launch.errors import ClusterError, SubmissionUnknown
from automodel_launch.executors.slurm import submission
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.shell import LocalShell
from tests.workbench import Bench, make_bench

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr("automodel_launch.executors.slurm.executor.Slurm.script", lambda self, plan: "")
    monkeypatch.setattr(submission, "LOOKUPS", 4)
    monkeypatch.setattr(submission, "LOOKUP_S", 0.0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    bench: Bench = make_bench(tmp_path)
    bench.env('[far]\nexecutor = "slurm"\naccount = "a"\nnodes = 1\ngpus_per_node = 1\ncontainer_image = "none"\n')
    plan = bench.plan(profile="far")
    Path(plan.job_dir).mkdir(parents=True)
    return plan


def _command(tmp_path: Path, name: str, text: str) -> Path:
    """A command of that name, which counts its calls in a file beside it."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho x >> {path}.calls\n{text}\n")
    path.chmod(0o755)
    return Path(f"{path}.calls")


def test_a_controller_that_is_down_is_said_at_once(plan: Plan, tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    _command(tmp_path, "sbatch", f"echo '{said}' >&2; exit 1")
    asked = _command(tmp_path, "squeue", "exit 1")
    with pytest.raises(ClusterError, match="slurmctld cannot be reached") as caught:
        submission.sbatch(LocalShell(), plan)
    assert "nothing was submitted" in str(caught.value.hint)
    assert not asked.exists()


def test_an_answer_that_was_lost_is_found_by_the_comment(plan: Plan, tmp_path: Path) -> None:
    sent = _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    _command(tmp_path, "squeue", f"echo '17|/somebody/else'; echo '18|{plan.job_dir}'")
    assert submission.sbatch(LocalShell(), plan) == "18"
    assert len(sent.read_text().split()) == 1  # never submitted twice


def test_a_job_of_that_name_with_another_comment_is_not_ours(plan: Plan, tmp_path: Path) -> None:
    _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    asked = _command(tmp_path, "squeue", f"echo '17|{plan.job_dir}0'; echo '18|'")
    with pytest.raises(ClusterError, match="did not submit"):
        submission.sbatch(LocalShell(), plan)
    assert len(asked.read_text().split()) == 3


def test_it_is_not_known_while_slurm_does_not_answer(plan: Plan, tmp_path: Path) -> None:
    _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    _command(tmp_path, "squeue", "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1")
    with pytest.raises(SubmissionUnknown, match="is not known"):
        submission.sbatch(LocalShell(), plan)


@pytest.mark.parametrize("left", ["chain", "log"])
def test_a_job_that_slurm_has_forgotten_is_found_by_what_it_left(plan: Plan, tmp_path: Path, left: str) -> None:
    _command(tmp_path, "squeue", "true")
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir) is None
    if left == "chain":
        Path(plan.job_dir, "chain").write_text("41 42 0\n")
    else:
        Path(plan.job_dir, "logs").mkdir()
        Path(plan.job_dir, "logs", f"sbatch_{plan.job_id}_41.out").write_text("")
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir) == "41"


def test_the_submitters_sbatch_variables_do_not_reach_sbatch(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "wrong")
    seen = tmp_path / "environ"
    _command(tmp_path, "sbatch", f"env > {seen}; echo 5")
    assert submission.sbatch(LocalShell(), plan) == "5"
    assert "SBATCH_" not in seen.read_text()


def test_whether_slurm_may_requeue_stands_in_the_script_alone(plan: Plan) -> None:
    assert plan.submit.endswith(f"sbatch --parsable {plan.job_dir}/script")
