"""The state of a job that was submitted from here, whatever became of the launcher that submitted it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status


def complete(folder: Path, record: Record) -> Record:
    """The record with the job's handle, which its launcher did not live to write down; as it is while one is at it.

    Raises:
        ClusterError: the job's place does not answer, so whether it was submitted cannot be told.
    """
    if record.launcher is None or record.last_end is not None or records.is_submitting(record):
        return record
    executor = executors.get(record.executor)
    handle = executor.find(record)
    if handle is not None:
        record = replace(record, handle=handle, launcher=None)
        records.save(folder, record)
    else:
        executor.place_of(record).remove(f"{record.job_dir}/{contract.SECRETS}")
    return record


def look(folder: Path, record: Record) -> tuple[Record, Status]:
    """The completed record, and the job's state now: the end that was seen where nobody knows the job any longer."""
    if record.final:
        return record, record.final
    try:
        record = complete(folder, record)
    except ClusterError as error:
        return record, Status("UNKNOWN", error=error.message)
    now = of(record)
    records.remember(folder, record, now)
    return record, now


def of(record: Record) -> Status:
    """The state now of a job whose record is complete."""
    if record.launcher is not None:
        if records.is_submitting(record):
            return Status(records.SUBMITTING, error="its launcher is submitting it now")
        return Status(records.NOT_SUBMITTED, error="its launcher ended before the job was submitted")
    now = executors.get(record.executor).status(record)
    return record.last_end if now.forgotten and record.last_end else _in_words(record, now)


def _in_words(record: Record, now: Status) -> Status:
    """A stop file's path in words: that of the run is a pause."""
    if now.state != contract.CANCELLED:
        return now
    if now.error == f"{contract.STOPPED_BY}{record.run_dir}/{contract.STOP}":
        reason, advice = "its run was paused", f"python launch.py resume {record.job_id} goes on"
        return replace(now, error=None, reason=reason, advice=advice)
    if now.error == f"{contract.STOPPED_BY}{record.job_dir}/{contract.STOP}":
        return replace(now, error=contract.MEANINGS[contract.CANCELLED])
    return now
