"""The files of a run: what all its jobs have written, read where they lie."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import history, rundir
from automodel_launch.jobs.jobdir import JobDir, parse
from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.report.columns import Columns

Json = dict[str, Any]


@dataclass
class JobFiles:
    """One job: its rows of metrics in `steps` and `validations`, a Columns for each validation's name."""

    job_id: str
    steps: Columns = field(default_factory=Columns)
    validations: dict[str, Columns] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    phases: list[Json] = field(default_factory=list)
    plan: Json = field(default_factory=dict)
    order: Json = field(default_factory=dict)
    heartbeat: Json = field(default_factory=dict)
    end: Json = field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        """Whether its directory holds anything of it."""
        return bool(self.plan or self.order or self.events or self.steps.rows)


@dataclass
class RunFiles:
    """A run: its attempts as history.jsonl tells them, its jobs in the order in which they began."""

    name: str
    record: Record
    attempts: list[Json]
    jobs: list[JobFiles]
    checkpoints: list[Json]
    finished: Json | None


def read(record: Record, place: FileSystem) -> RunFiles:
    """All that is known of the run of this job.

    Raises:
        ClusterError: its place cannot be reached.
    """
    own = re.compile(re.escape(record.run_name) + r"\.\d+")  # a name in a file that a job can write is no path yet
    attempts = [row for row in history.attempts(record.run_dir, place) if own.fullmatch(str(row["job_id"]))]
    ids = list(dict.fromkeys([*(row["job_id"] for row in attempts), record.job_id]))
    root = posixpath.dirname(record.job_dir)
    jobs = [_job(name, JobDir(f"{root}/{name}", place)) for name in ids]
    folder = next((job.order["checkpoint_dir"] for job in reversed(jobs) if job.order.get("checkpoint_dir")), None)
    saved = _checkpoints(str(folder), place) if folder else []
    return RunFiles(record.run_name, record, attempts, jobs, saved, rundir.finished(record.run_dir, place))


def size(record: Record, place: FileSystem) -> int:
    """Bytes of the metrics of a job, by which a reader who is in a hurry decides."""
    found = place.read(f"{record.job_dir}/{contract.METRICS}", -1)
    return found[1] if found else 0


def _job(job_id: str, folder: JobDir) -> JobFiles:
    job = JobFiles(job_id)
    job.plan = parse(_whole(folder.place, folder.file(contract.PLAN))) or {}
    job.order, job.end = folder.agent_order() or {}, folder.exit_record() or {}
    job.heartbeat = folder.node(0) or {}
    job.events = [entry for entry in _objects(folder, contract.EVENTS) if _is_number(entry.get("time"))]
    job.phases = [entry for entry in _objects(folder, contract.PHASES) if _is_phase(entry)]
    for entry in folder.metrics():
        _take(job, entry)
    return job


def _take(job: JobFiles, entry: Json) -> None:
    """A line of metrics.jsonl; one without a step or a time is none of a training."""
    step = entry.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not _is_number(entry.get("time")):
        return
    if "loss" in entry:
        job.steps.add(entry)
    elif "val_loss" in entry:
        name = entry.get("name")
        job.validations.setdefault(name if isinstance(name, str) else "default", Columns()).add(entry)


def _checkpoints(folder: str, place: FileSystem) -> list[Json]:
    """Name, step and whether it is complete, by step; looked for under the names that the contract knows."""
    found = [(step, name) for name in place.names(folder) if (step := contract.checkpoint_step(name)) is not None]
    found.sort()
    marks = place.read_many([(f"{folder}/{name}/{contract.INCOMPLETE}", 0) for _, name in found]) if found else []
    return [
        {"name": name, "step": step, "complete": mark is None, "path": f"{folder}/{name}"}
        for (step, name), mark in zip(found, marks, strict=True)
    ]


def _objects(folder: JobDir, name: str) -> Iterator[Json]:
    for line in _whole(folder.place, folder.file(name)).split(b"\n"):
        entry = parse(line)
        if entry:
            yield entry


def _whole(place: FileSystem, path: str) -> bytes:
    content = b""
    while (found := place.read(path, len(content))) and found[0]:
        content += found[0]
    return content


def _is_phase(entry: Json) -> bool:
    return isinstance(entry.get("phase"), str) and all(_is_number(entry.get(key)) for key in ("since", "until"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
