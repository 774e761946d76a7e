"""The files of a run: what all its jobs have written, read where they lie."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import history, rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, is_number, is_whole
from automodel_launch.remote.filesystem import FileSystem, wholes
from automodel_launch.report.columns import Columns

Json = dict[str, Any]

_SMALL = (
    contract.PLAN,
    contract.AGENT,
    contract.EXIT,
    contract.node_file(0),
    contract.NOTES,
    contract.EVENTS,
    contract.PHASES,
)

_RANK_TIMES = 2**21  # bytes of that file's end; a sample of 1,024 ranks takes 20 kB
_ROWS = ("steps", "validations", "taken")


@dataclass
class JobFiles:
    """One job: its rows of metrics in `steps` and `validations`, a Columns for each validation's name.

    `notes` is what its launcher knew; `taken`: bytes of metrics.jsonl that the rows are from.
    """

    job_id: str
    steps: Columns = field(default_factory=Columns)
    validations: dict[str, Columns] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    phases: list[Json] = field(default_factory=list)
    plan: Json = field(default_factory=dict)
    order: Json = field(default_factory=dict)
    heartbeat: Json = field(default_factory=dict)
    end: Json = field(default_factory=dict)
    notes: Json = field(default_factory=dict)
    rank_times: bytes = b""
    taken: int = 0


@dataclass
class RunFiles:
    """A run: its attempts as history.jsonl tells them, its jobs in the order in which they began."""

    name: str
    record: Record
    attempts: list[Json]
    jobs: list[JobFiles]
    checkpoints: list[Json]
    finished: Json | None
    evaluations: list[Json] = field(default_factory=list)  # of checkpoints, by step: step, name, data, loss


def read(record: Record, place: FileSystem, before: RunFiles | None = None) -> RunFiles:
    """All that is known of the run of this job; of metrics only what is new, where they were read `before`.

    Raises:
        ClusterError: its place cannot be reached.
    """
    own = re.compile(re.escape(record.run_name) + r"\.\d+")  # a name in a file that a job can write is no path yet
    attempts = [row for row in history.attempts(record.run_dir, place) if own.fullmatch(str(row["job_id"]))]
    ids = list(dict.fromkeys([*(row["job_id"] for row in attempts), record.job_id]))
    root = posixpath.dirname(record.job_dir)
    jobs = _jobs(ids, root, place, {job.job_id: job for job in before.jobs} if before else {})
    folder = next((job.order["checkpoint_dir"] for job in reversed(jobs) if job.order.get("checkpoint_dir")), None)
    names = place.names(str(folder)) if folder else []
    saved = _checkpoints(str(folder), names, place)
    there = contract.EVALUATIONS in names
    evaluated = list(_evaluations(f"{folder}/{contract.EVALUATIONS}", place)) if there else []
    return RunFiles(record.run_name, record, attempts, jobs, saved, rundir.finished(record.run_dir, place), evaluated)


def commits(files: RunFiles, place: FileSystem) -> dict[str, str]:
    """The commit behind each job's code, with a word where it was changed; no entry for a job without git."""
    folders = [f"{posixpath.dirname(files.record.job_dir)}/{job.job_id}" for job in files.jobs]
    written = place.read_many([(f"{folder}/{contract.GIT_COMMIT}", 0) for folder in folders])
    changed = place.read_many([(f"{folder}/{contract.GIT_DIFF}", -1) for folder in folders])
    found = dict[str, str]()
    for job, commit, difference in zip(files.jobs, written, changed, strict=True):
        name = commit[0].decode("utf-8", "replace").strip() if commit else ""
        if name:
            found[job.job_id] = f"{name} with changes" if difference and difference[1] else name
    return found


def size(record: Record, place: FileSystem) -> int:
    """Bytes of the metrics of a job, by which a reader who is in a hurry decides."""
    found = place.read(f"{record.job_dir}/{contract.METRICS}", -1)
    return found[1] if found else 0


def _jobs(ids: Sequence[str], root: str, place: FileSystem, before: Mapping[str, JobFiles]) -> list[JobFiles]:
    """All jobs at once: but for metrics, which may be long, their files are small and many."""
    small = [f"{root}/{name}/{file}" for name in ids for file in _SMALL]
    contents = (found or b"" for found in wholes(place, small))
    sampled = place.read_many([(f"{root}/{name}/{contract.RANK_TIMES}", -_RANK_TIMES) for name in ids])
    jobs = []
    for name, samples in zip(ids, sampled, strict=True):
        plan, order, end, heartbeat, notes, events, phases = (next(contents) for _ in _SMALL)
        job = JobFiles(name, plan=parse(plan) or {}, order=parse(order) or {}, end=parse(end) or {})
        job.heartbeat, job.notes = parse(heartbeat) or {}, parse(notes) or {}
        job.rank_times = samples[0] if samples else b""
        job.events = [entry for entry in _objects(events) if is_number(entry.get("time"))]
        job.phases = [entry for entry in _objects(phases) if _is_phase(entry)]
        if name in before:
            job.steps, job.validations, job.taken = (getattr(before[name], key) for key in _ROWS)
        _take_new(job, f"{root}/{name}/{contract.METRICS}", place)
        jobs.append(job)
    return jobs


def _take_new(job: JobFiles, path: str, place: FileSystem) -> None:
    """The complete lines of metrics.jsonl that were not taken yet; a line that is longer than one read is left out."""
    while (found := place.read(path, job.taken)) and found[0]:
        whole, newline, _ = found[0].rpartition(b"\n")
        for line in whole.split(b"\n") if newline else ():
            if entry := parse(line):
                _take(job, entry)
        at_end = job.taken + len(found[0]) >= found[1]
        if not newline and at_end:
            return
        job.taken += len(whole) + 1 if newline else len(found[0])
        if at_end:
            return


def _take(job: JobFiles, entry: Json) -> None:
    """A line of metrics.jsonl; one without a step or a time is none of a training."""
    step = entry.get("step")
    if not is_whole(step) or not is_number(entry.get("time")):
        return
    if "loss" in entry:
        job.steps.add(entry)
    elif "val_loss" in entry and not contract.has_no_token(entry):
        name = entry.get("name")
        job.validations.setdefault(name if isinstance(name, str) else "default", Columns()).add(entry)


def _checkpoints(folder: str, names: Sequence[str], place: FileSystem) -> list[Json]:
    """Name, step and whether it is complete, by step; looked for under the names that the contract knows."""
    found = [(step, name) for name in names if (step := contract.checkpoint_step(name)) is not None]
    found.sort()
    wanted = [(f"{folder}/{name}/{mark}", -1) for _, name in found for mark in contract.SAVE_MARKS]
    looked = iter(place.read_many(wanted) if wanted else [])
    checkpoints = []
    for step, name in found:
        content = [mark for mark, there in zip(contract.SAVE_MARKS, looked, strict=False) if there is not None]
        saved = contract.is_saved(name, content)
        checkpoints.append({"name": name, "step": step, "complete": saved, "path": f"{folder}/{name}"})
    return checkpoints


def _evaluations(folder: str, place: FileSystem) -> Iterator[Json]:
    """What recipes/evaluate.py has left, also of checkpoints that are gone; by step."""
    named = ((name, contract.checkpoint_step(name.removesuffix(".json"))) for name in place.names(folder))
    found = sorted((step, name) for name, step in named if step is not None and name.endswith(".json"))
    files = wholes(place, [f"{folder}/{name}" for _, name in found])
    for (step, _), content in zip(found, files, strict=True):
        results = (parse(content or b"") or {}).get("results")
        for one in results if isinstance(results, list) else ():
            if isinstance(one, dict) and is_number(one.get("loss")) and math.isfinite(one["loss"]):
                words = {key: str(one.get(key) or "") for key in ("name", "data")}
                yield {"step": step, **words, "loss": float(one["loss"])}


def _objects(content: bytes) -> Iterator[Json]:
    return (entry for line in content.split(b"\n") if (entry := parse(line)))


def _is_phase(entry: Json) -> bool:
    return isinstance(entry.get("phase"), str) and all(is_number(entry.get(key)) for key in ("since", "until"))
