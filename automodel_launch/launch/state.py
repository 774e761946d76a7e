"""The state of a job that was submitted from here, whatever became of the launcher that submitted it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError, RecordError, StillSubmitting
from automodel_launch.executors import handles
from automodel_launch.jobs import launcher, records
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status


def found(record: Record) -> dict[str, Any] | None:
    """The handle of a job whose launcher has not written it down, None where it is not there (yet).

    Raises:
        StillSubmitting: the command that submits it works on, though its launcher has ended.
        ClusterError: the job's place does not answer, so whether it was submitted cannot be told.
    """
    if record.launcher is None or launcher.is_surely_at_it(record):
        return None
    odd = handles.odd(record.handle)
    if odd:
        raise ClusterError(f"{record.job_id}: {odd}, so it cannot be looked for.")
    return executors.get(record.executor).find(record)


def complete(folder: Path, record: Record) -> Record:
    """The record with the job's handle, which its launcher did not live to write down; as it is while one is at it.

    A job that was to be resumed, and was not, has its former record back.

    Raises:
        ClusterError: see `found`.
    """
    if record.launcher is None or record.last_end is not None:
        return record
    at_it = launcher.is_at_it(record)  # before the look: it may submit the job after that, and end
    handle = found(record)
    if handle is None and at_it:
        return record
    if handle is None:
        executors.get(record.executor).place_of(record).remove(f"{record.job_dir}/{contract.SECRETS}")
        if record.before is None and launcher.is_young(record):  # without locks a command may be at it unseen
            return record
    done = _not_started(record) if handle is None else started(record, handle)
    try:
        return records.change(folder, record, lambda now: done if records.is_same_start(now, record) else now)
    except RecordError:  # what was found is true all the same; the next look finds it again
        return done


def started(record: Record, handle: dict[str, Any]) -> Record:
    """The record of a job that has been submitted."""
    return replace(record, handle=handle, launcher=None, before=None, end=None)


def _not_started(record: Record) -> Record:
    return replace(record, end=asdict(of(record))) if record.before is None else as_before(record)


def as_before(record: Record) -> Record:
    """The record as it was before somebody began to resume the job."""
    before = record.before or {}
    return replace(record, handle=before.get("handle", {}), end=before.get("end"), launcher=None, before=None)


def look(folder: Path, record: Record) -> tuple[Record, Status]:
    """The completed record, and the job's state now: the end that was seen where nobody knows the job any longer.

    One odd record is an odd line in a list of jobs, and nothing more.
    """
    if record.final:
        return record, record.final
    try:
        record = complete(folder, record)
        now = of(record)
    except StillSubmitting as error:
        return record, Status(_underway(record), error=error.message)
    except LaunchError as error:
        return record, Status("UNKNOWN", error=error.message)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        said = f"its record {record.job_id}.json holds what this version does not understand: {error!r}"
        return record, Status("UNKNOWN", error=said)
    records.remember(folder, record, now)
    return record, now


def waiting(records: Iterable[Record]) -> dict[str, Status]:
    """Jobs that were submitted together and have not begun, by job id; one question for all of an executor.

    Who is missing here has to be looked at by itself.
    """
    found: dict[str, Status] = {}
    wanted = [record for record in records if record.launcher is None and not record.final]
    for name in sorted({record.executor for record in wanted}):
        together = executors.together(name)
        if together is not None:
            found |= together.waiting([one for one in wanted if one.executor == name and not lacks(one)])
    return found


def of(record: Record) -> Status:
    """The state now of a job whose record is complete."""
    if record.launcher is not None:
        if launcher.is_at_it(record):
            return Status(_underway(record), error="its launcher is submitting it now")
        return Status(records.NOT_SUBMITTED, error="its launcher ended before the job was submitted")
    lacking = lacks(record)
    if lacking:
        return record.last_end or Status("UNKNOWN", error=lacking, forgotten=True)
    now = records.typed(executors.get(record.executor).status(record))
    if now.forgotten and record.last_end:
        return record.last_end
    return _in_words(record, _with_last_step(record, now))


def _with_last_step(record: Record, now: Status) -> Status:
    """The last step that was logged: one that was killed may have taken many since its agent's last heartbeat."""
    if not now.over or now.state == contract.COMPLETED:
        return now
    try:
        last = JobDir(record.job_dir, executors.get(record.executor).place_of(record)).last_metrics(now.started) or {}
    except ClusterError:
        return now
    step = last.get("step")
    return replace(now, step=step) if isinstance(step, int) else now


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


def lacks(record: Record) -> str | None:
    """What a complete record lacks so that its job could be asked for, or stopped."""
    for key in executors.get(record.executor).needed:
        if not isinstance(record.handle.get(key), (str, int)):
            return f"its record does not say its {key}, without which it can neither be asked for nor stopped"
    return handles.odd(record.handle)


def launch_again(record: Record) -> str:
    """How to go on with a job that was not submitted."""
    words = shlex.join([*typed(record), f"--{record.mode}", record.profile])
    return f"launch it again, as before: python launch.py {words} ..."


def typed(record: Record) -> list[str]:
    """The words of the command line that name what was launched; of an older record the names of recipe and config."""
    return record.typed or [record.recipe, *([] if record.config == "default" else ["-c", record.config])]


def _underway(record: Record) -> str:
    return records.SUBMITTING if record.before is None else records.RESUMING
