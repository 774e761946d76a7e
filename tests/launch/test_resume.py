"""What keeps a job from being resumed holds for every caller, and is said before anything is claimed or changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import contract, data_identity
from automodel_launch.errors import JobError, PlanRefused
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record
from automodel_launch.launch import resume
from tests.workbench import make_bench, refused, write_pair

WHY = "its GPU-hours are used up: 12 of 12 (max_gpu_hours = 12)"


@pytest.fixture
def job(tmp_path: Path) -> Record:
    """A job that has failed, on this machine."""
    job = f"{tmp_path}/runs/a.1"
    made = Record("a.1", "a", "stub", "default", "local", "local", "batch", job, f"{tmp_path}/runs/a", "hash", 1.0)
    for folder in (made.job_dir, made.run_dir, str(tmp_path / "records")):
        Path(folder).mkdir(parents=True)
    Path(made.job_dir, "exit.json").write_text(json.dumps({"state": "FAILED", "code": 1, "ended": 2.0}))
    records.save(tmp_path / "records", made)
    return made


def _unchanged(job: Record, folder: Path) -> bool:
    return records.find(folder, "a.1") == job and not Path(job.run_dir, "claims").exists()


def test_a_job_that_has_used_up_its_gpu_hours_is_not_resumed_by_any_way(job: Record, tmp_path: Path) -> None:
    begun = {"job_id": "a.1", "event": "begun", "time": 1.0, "attempt": 0, "gpus": 16}
    ended = {"job_id": "a.1", "event": "ended", "time": 2.0, "attempt": 0, "goes_on": False, "why": WHY}
    Path(job.run_dir, "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (begun, ended)))
    folder = tmp_path / "records"
    refused(JobError, lambda: resume.resume(folder, job, {}), "a.1 cannot go on", WHY, "a higher max_gpu_hours")
    assert _unchanged(job, folder)


def test_nor_one_whose_run_began_with_other_data(job: Record, tmp_path: Path) -> None:
    named = [["megatron", write_pair(tmp_path / "web", [1, 2, 3])]]
    Path(job.job_dir, "agent.json").write_text(json.dumps({"data": {"named": named, "allow": None, "caches": []}}))
    Path(job.run_dir, "data.json").write_text(json.dumps(data_identity.look(named, [])))
    write_pair(tmp_path / "web", [1, 2, 3, 4])
    folder = tmp_path / "records"
    refused(PlanRefused, lambda: resume.resume(folder, job, {}), "began with other data", "run.data_changed=allow")
    assert _unchanged(job, folder)


def test_what_a_job_is_started_again_with_is_what_travels(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    (bench.workspace.recipes / "node_agent.sh").write_text("")
    travelling = {file.path for file in bench.planned("steps: 1\n").files}
    assert {*resume.NEEDED} - {contract.SCRIPT} <= travelling
    assert contract.SCRIPT in resume.NEEDED
