"""Evaluations by `on_checkpoint`, which no launcher has submitted: what `jobs`, `status`, `cancel` and `prune` know."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record
from automodel_launch.launch import evaluation_jobs
from automodel_launch.remote.filesystem import FileSystem
from tests.commands.conftest import Cli

WAITS, DONE, FAILED, REFUSED = (f"epoch_0_step_{step}" for step in (9, 19, 29, 39))


class Night:
    """A run of a Slurm cluster, `night`, which has ended with six checkpoints; squeue knows what `queue` says."""

    def __init__(self, launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.launch, self.root = launch, launch.bench.root / "runs"
        self.checkpoints = self.root / "night" / "checkpoints"
        self.queue = launch.bench.root / "queue"
        self.queue.mkdir()
        bin_ = launch.bench.root / "bin"
        bin_.mkdir()
        self._tool(
            bin_ / "squeue", f'for word; do [ ! -f {self.queue}/"$word" ] || exec cat {self.queue}/"$word"; done'
        )
        self._tool(bin_ / "scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
        self._tool(bin_ / "sacct", ":")
        self.called = bin_ / "scancel-called"
        self._tool(bin_ / "scancel", f'echo "$@" >> {self.called}; rm -f {self.queue}/*')
        monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
        self.folder = launch.bench.workspace.records
        self.record = self._job("night.1", "night", "77", "COMPLETED")
        for name in (WAITS, DONE, FAILED, REFUSED, "epoch_0_step_49", "epoch_0_step_59"):
            (self.checkpoints / name).mkdir(parents=True)
            (self.checkpoints / name / "losses.json").write_text("{}")
        (self.checkpoints / contract.EVALUATIONS).mkdir()
        self.mark(WAITS, slurm_id="81")
        self.mark(DONE, slurm_id="82", state="COMPLETED")
        self.mark(FAILED, slurm_id="83", state="FAILED")
        self.mark(REFUSED, error="sbatch: error: QOSMaxSubmitJobPerUserLimit", job_dir=None)
        self.wait("81", self.evaluation(WAITS))

    def _tool(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def _job(self, job_id: str, run: str, slurm_id: str, state: str | None) -> Record:
        made = replace(
            self.launch.job(1, None),
            job_id=job_id,
            run_name=run,
            profile="c",
            executor="slurm",
            job_dir=str(self.root / job_id),
            run_dir=str(self.root / run),
            handle={"slurm_id": slurm_id, "tunnel": None, contract.EVALUATIONS: str(self.checkpoints / "evaluations")},
        )
        shutil.rmtree(self.root)
        (self.folder / "stub-a.1.json").unlink()
        self.ended(Path(made.job_dir), state)
        (Path(made.job_dir) / contract.AGENT).write_text(json.dumps({"checkpoint_dir": str(self.checkpoints)}))
        records.save(self.folder, made)
        return made

    def ended(self, job: Path, state: str | None) -> None:
        (job / "logs").mkdir(parents=True, exist_ok=True)
        if state:
            end = {"state": state, "code": 0, "ended": time.time() - 40 * 86400, "slurm_id": "x"}
            (job / contract.EXIT).write_text(json.dumps(end))

    def evaluation(self, name: str) -> Path:
        return self.root / f"night-{name}.1"

    def mark(self, name: str, state: str | None = None, **told: Any) -> None:
        job = self.evaluation(name)
        whole = dict.fromkeys(contract.EVALUATION_JOB_KEYS)
        whole |= {"checkpoint": name, "time": time.time(), "by": "night.1", "job_dir": str(job), **told}
        (self.checkpoints / contract.EVALUATIONS / f"{name}{contract.EVALUATION_JOB}").write_text(json.dumps(whole))
        if whole["slurm_id"]:
            self.ended(job, state)
            (job / contract.CONFIG).write_text(f"checkpoint:\n  restore_from: {self.checkpoints}/{name}\n")

    def wait(self, slurm_id: str, job: Path) -> None:
        (self.queue / slurm_id).write_text(f"PENDING|Priority|N/A||{job}|{job.name}|\n")


@pytest.fixture
def night(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(launch, monkeypatch)


def test_jobs_lists_those_that_wait_or_failed_and_counts_the_others(night: Night) -> None:
    code, out, err = night.launch("jobs")
    assert code == 0
    cells = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert {name: cell[0] for name, cell in cells.items()} == {
        "night.1": "COMPLETED",
        f"night-{WAITS}.1": "PENDING",
        f"night-{FAILED}.1": "FAILED",
    }
    assert "evaluates step 9 of night" in out
    assert "1 evaluation of night COMPLETED: `python launch.py checkpoints night` shows the losses" in err
    rows = json.loads(night.launch("jobs", "--json")[1])
    assert {row["job_id"]: row["state"] for row in rows}[f"night-{DONE}.1"] == "COMPLETED" and len(rows) == 4
    assert {row["handle"].get("beside") for row in rows} == {None, "night"}
    assert night.launch("status", "last")[1].startswith("night.1: ")  # what somebody has launched
    assert night.launch("status", "nig")[1].startswith("night.1: ")


def test_status_tells_what_waits_what_failed_and_what_got_no_job(night: Night) -> None:
    out = night.launch("status", "night")[1]
    assert "  evaluations: 1 COMPLETED, 1 FAILED, 1 PENDING\n" in out
    assert f"    step 9: PENDING (night-{WAITS}.1): " in out and "Priority" in out
    assert "    step 39: not submitted: sbatch: error: QOSMaxSubmitJobPerUserLimit" in out
    told = json.loads(night.launch("status", "night", "--json")[1])["evaluations"]
    assert [(one["step"], one["state"]) for one in told] == [
        ("9", "PENDING"),
        ("19", "COMPLETED"),
        ("29", "FAILED"),
        ("39", None),
    ]
    # the evaluation's own: by its name, though no other command has made its record before
    shutil.rmtree(night.folder)
    records.save(night.folder, night.record)
    assert night.launch("status", f"night-{FAILED}.1")[1].startswith(f"night-{FAILED}.1: FAILED")
    assert night.launch("cancel", "81")[0] == 0 and "81" in night.called.read_text()


def test_a_training_that_is_cancelled_says_what_goes_on(night: Night) -> None:
    (Path(night.record.job_dir) / contract.EXIT).unlink()
    night.wait("77", Path(night.record.job_dir))
    night.launch("jobs")
    night._tool(night.called.parent / "scancel", f"rm -f {night.queue}/77")
    code, out, err = night.launch("cancel", "night")
    assert (code, out) == (0, "night.1: CANCELLED\n"), err
    assert f"1 evaluation of its checkpoints goes on: night-{WAITS}.1" in err and "cancel JOB" in err


def test_prune_keeps_what_an_evaluation_waits_for_and_not_what_one_has_failed_on(night: Night) -> None:
    found = json.loads(night.launch("prune", "night", "--json")[1])
    gone = {item["paths"][0].rpartition("/")[2] for item in found["items"] if item["kind"] == "checkpoint"}
    assert gone == {DONE, FAILED, REFUSED}
    (night.queue / "81").unlink()  # cancelled before it began, as Slurm alone knows
    night.ended(night.evaluation(WAITS), "CANCELLED")
    found = json.loads(night.launch("prune", "night", "--json")[1])
    assert WAITS in {item["paths"][0].rpartition("/")[2] for item in found["items"]}


@pytest.mark.parametrize(
    "odd", ["{", "[]", '{"checkpoint": 5}', '{"checkpoint": "epoch_0_step_9", "job_dir": "x", "slurm_id": 1}']
)
def test_an_odd_marker_is_no_job(night: Night, odd: str) -> None:
    marker = night.checkpoints / contract.EVALUATIONS / f"{WAITS}{contract.EVALUATION_JOB}"
    marker.write_text(odd)
    code, out, err = night.launch("jobs")
    assert code == 0 and WAITS not in out and FAILED in out, err


def test_a_marker_that_is_a_pipe_hides_no_other(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read it would wait for whoever writes it, until the place is taken for one that does not answer."""
    monkeypatch.setattr(evaluation_jobs, "_ASK_S", 3.0)
    os.mkfifo(night.checkpoints / contract.EVALUATIONS / f"epoch_0_step_49{contract.EVALUATION_JOB}")
    code, out, err = night.launch("jobs")
    assert code == 0 and FAILED in out, err


def test_a_run_that_can_get_no_more_is_not_looked_at_again(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.launch("jobs")
    night.launch("jobs")
    places: list[FileSystem] = []

    def read(place: FileSystem, jobs: list[Record]) -> dict[str, list[evaluation_jobs.Marker]]:
        places.append(place)
        return {record.run_dir: [] for record in jobs}

    monkeypatch.setattr(evaluation_jobs, "_read", read)
    assert f"night-{FAILED}.1" in night.launch("jobs")[1] and places == []
