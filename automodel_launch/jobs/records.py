"""The record of every job submitted from here: one JSON file a job, so that two launchers never lose one."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract
from automodel_launch.errors import JobError
from automodel_launch.remote import processes
from automodel_launch.suggest import did_you_mean

ELSEWHERE_S = 600.0  # the longest that a submission takes, with every wait
SETTLED_S = 3600.0
"""After it an end is final. Until then somebody may requeue the job; slurmctld has it for MinJobAge (300 s)."""


SUBMITTING = "SUBMITTING"  # a launcher is at it now
NOT_SUBMITTED = "NOT_SUBMITTED"  # its launcher ended before that


@dataclass(frozen=True)
class Status:
    """A job's state at one moment; UNKNOWN means that it could not be told, never that the job failed.

    `started` and `ended` are unix seconds, `rank` the global rank that failed first, `log` relative to the job's
    directory. `error` is why it failed, was ended, or cannot be told; `reason` why it waits, or what else is to be
    known, and `advice` what to do about that.
    """

    state: str
    code: int | None = None
    error: str | None = None
    rank: int | None = None
    node: str | None = None
    step: int | None = None
    log: str | None = None
    signal: str | None = None
    started: float | None = None
    ended: float | None = None
    forgotten: bool = False  # whoever ran it answers, and knows it no longer
    reason: str | None = None
    advice: str | None = None

    @property
    def over(self) -> bool:
        """The job has ended."""
        return self.state in contract.ENDED or self.state == NOT_SUBMITTED


@dataclass(frozen=True)
class Record:
    """What was submitted, and what finds it again. `submitted` is unix seconds; `handle` belongs to the executor."""

    job_id: str
    run_name: str
    recipe: str
    config: str
    profile: str
    executor: str
    mode: str
    job_dir: str
    run_dir: str
    plan_hash: str
    submitted: float
    max_steps: int | None = None
    handle: dict[str, Any] = field(default_factory=dict)
    launcher: dict[str, Any] | None = None  # while it is being submitted: the process that does, as `launcher()` says
    end: dict[str, Any] | None = None  # the Status that it was last seen to end with

    @property
    def last_end(self) -> Status | None:
        """The end that was seen, for when nobody knows the job any longer."""
        known = {f.name for f in fields(Status)}
        return Status(**{key: value for key, value in self.end.items() if key in known}) if self.end else None

    @property
    def final(self) -> Status | None:
        """The end, where it lies so far back that asking again is of no use: 200 old jobs are listed at once."""
        end = self.last_end
        return end if end and end.ended and time.time() - end.ended > SETTLED_S else None


def remember(folder: Path, record: Record, status: Status) -> None:
    """Keep the end of a job: a cluster without sacct forgets it within minutes."""
    if status.over and record.end != asdict(status):
        save(folder, replace(record, end=asdict(status)))


def launcher() -> dict[str, Any]:
    """This process, so that another one can tell whether it is still there."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "start": processes.start_time(os.getpid())}


def is_submitting(record: Record) -> bool:
    """Whether the record's launcher is still submitting it. On another host that cannot be seen: for ten minutes."""
    who = record.launcher or {}
    if who.get("host") != socket.gethostname():
        return bool(who) and time.time() - record.submitted < ELSEWHERE_S
    pid = who.get("pid")
    return isinstance(pid, int) and processes.is_same(pid, who.get("start"))


def forget(folder: Path, record: Record) -> None:
    """Remove the record of a job that was refused."""
    (folder / f"{record.job_id}.json").unlink(missing_ok=True)


def save(folder: Path, record: Record) -> None:
    """Write a record under its job's id; readers see the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{record.job_id}.json"
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    partial.replace(target)


def all_records(folder: Path) -> list[Record]:
    """Every record, oldest first; a file that is not one (a later version's, say) is left out."""
    records = [record for path in folder.glob("*.json") if (record := _read(path))]
    return sorted(records, key=lambda record: record.submitted)


def find(folder: Path, wanted: str) -> Record:
    """The job of that id, unique prefix of an id, run's name (its last job), executor's id, or `last`.

    Raises:
        JobError: there is none, or several.
    """
    records = all_records(folder)
    if not records:
        raise JobError(f"no job '{wanted}': none was submitted from here.", "python launch.py pretrain -c tiny")
    if wanted == "last":
        return records[-1]
    for match in (
        [r for r in records if wanted == r.job_id],
        [r for r in records if wanted == str(r.handle.get("slurm_id", ""))],
        [r for r in records if wanted == r.run_name][-1:],
        [r for r in records if r.job_id.startswith(wanted)],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise JobError(
                f"'{wanted}' is the beginning of {len(match)} jobs: {_listed(match)}.", "give more of the id"
            )
    guess = did_you_mean(wanted, [r.job_id for r in records])
    raise JobError(f"no job '{wanted}'.{guess}", "`python launch.py jobs` lists them; `last` is the last one")


def _listed(records: Iterable[Record]) -> str:
    names = [record.job_id for record in records]
    return ", ".join(names[-6:]) + (", ..." if len(names) > 6 else "")


def _read(path: Path) -> Record | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        record = Record(**{f.name: values[f.name] for f in fields(Record) if f.name in values})
        texts = (record.job_id, record.run_name, record.job_dir, record.run_dir, record.executor)
        whole = all(isinstance(text, str) for text in texts) and isinstance(record.handle, dict)
        whole = whole and (record.end is None or isinstance(record.end, dict))
        return record if whole and isinstance(record.submitted, (int, float)) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
