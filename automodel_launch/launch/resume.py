"""A further attempt at a job that is over: same script, same code, from the run's last checkpoint.

As a submission it is never lost: the record says that the job is being resumed, and keeps what was, before anything is
started; whoever looks at it later completes it (launch/state.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, data_identity, executors
from automodel_launch.errors import JobError, LaunchError, PlanRefused, RecordError, SubmissionUnknown
from automodel_launch.jobs import history, launcher, records, rundir
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import claim, state, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.plan import secrets
from automodel_launch.remote.filesystem import LOCAL, FileSystem

NEEDED = (contract.SCRIPT, contract.NODE_AGENT_SH)  # `prune` removes both


def refuse_without_files(record: Record, place: FileSystem) -> None:
    """Refuse a job of which too little is left to start it again.

    Raises:
        JobError: it says what is gone, and how to go on.
    """
    if None not in place.read_many([(f"{record.job_dir}/{name}", -1) for name in NEEDED]):
        return
    what = "its code was removed from" if place.names(record.job_dir) else "its directory is gone:"
    raise JobError(f"{record.job_id} cannot be resumed: {what} {record.job_dir}.", state.launch_again(record))


def finished(record: Record, before: Status, place: FileSystem) -> bool:
    """The run has reached its end, so that there is nothing to resume."""
    end = rundir.finished(record.run_dir, place)
    return before.state == contract.COMPLETED or bool(end and (end.get("step") or 0) >= (record.max_steps or 0))


def resume(
    folder: Path,
    record: Record,
    environ: Mapping[str, str],
    interrupts: Interrupts | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Start a job that is over once more; signals are held meanwhile, as by `submit`.

    Raises:
        PlanRefused: another job of the run is in the queue, or runs; or the run began with other data.
        JobError: it has used up its GPU-hours, needs a secret that `environ` has not, its files are gone, or somebody
            else resumes it.
        RecordError: its record cannot be written; nothing was started.
        ClusterError: its place cannot be reached, or refuses it.
    """
    held = interrupts or Interrupts()
    with held.caught():
        started = _resume(folder, record, environ, say)
    if interrupts is None:
        held.deliver()
    return started


def _resume(folder: Path, former: Record, environ: Mapping[str, str], say: Callable[[str], None]) -> Record:
    executor = executors.get(former.executor)
    place = executor.place_of(former)
    _refuse_spent(former, place)
    _refuse_other_data(former, place)
    waiting.refuse_early(former)
    refuse_without_files(former, place)
    handle = executor.again(former)  # first: the former attempt may be about to remove its secrets
    needed = _secrets(former, place, environ)
    kept = {"handle": former.handle, "end": former.end}
    record = replace(former, handle=handle, launcher=launcher.this(), before=kept, end=None)
    with claim.held(record, place) as submitted:
        refuse_without_files(former, place)  # again: `prune` looks for claims before and after it takes them away
        records.change(folder, former, lambda now: _unless_resumed(now, former, record))
        try:
            for stop in (record.job_dir, record.run_dir):
                place.remove(f"{stop}/{contract.STOP}")
            handle = executor.resume(record, needed)
        except (LaunchError, OSError) as error:
            _put_back(folder, record, place, error)
            raise
        submitted(handle)
    started = state.started(record, handle)
    try:
        records.save(folder, started)
    except RecordError as error:
        say(f"warning: {record.job_id} was submitted, and will be looked up: {error.message}")
    return started


def _refuse_spent(record: Record, place: FileSystem) -> None:
    spent = history.is_spent(history.attempts(record.run_dir, place), record.job_id)
    if spent:
        fix = "launch it again with a higher max_gpu_hours: the same run goes on as a new job"
        raise JobError(f"{record.job_id} cannot go on: {spent}.", fix)


def _refuse_other_data(record: Record, place: FileSystem) -> None:
    """Where this machine sees the data; elsewhere the job itself looks, before its first step."""
    agent, plan = _orders(record, place)
    data = agent.get("data") or {}
    named = data.get("named")
    if not named or place != LOCAL:
        return
    mounts = [[target, source] for source, target in (text.split(":")[:2] for text in plan.get("mounts") or [])]
    now = data_identity.look(named, mounts)
    done = rundir.steps_kept(agent.get("checkpoint_dir"), place) if data_identity.depends_on_steps(named) else None
    changed = data_identity.compare(rundir.data(record.run_dir), now, done)
    if changed and data.get("allow") not in (True, now["digest"]):
        message = f"{record.job_id} was not resumed: run {record.run_name} began with other data: {'; '.join(changed)}."
        fix = "give it those data again; the same launch with run.data_changed=allow goes on with these"
        raise PlanRefused(message, fix)


def _orders(record: Record, place: FileSystem) -> tuple[dict[str, Any], dict[str, Any]]:
    """agent.json and plan.json; empty where they cannot be read."""
    job = JobDir(record.job_dir, place)
    return job.agent_order() or {}, job.plan()


def _unless_resumed(now: Record, former: Record, record: Record) -> Record:
    if not records.is_same_start(now, former):
        raise JobError(f"{record.job_id} has been resumed meanwhile.", f"python launch.py status {record.job_id}")
    return record


def _put_back(folder: Path, record: Record, place: FileSystem, error: Exception) -> None:
    if isinstance(error, SubmissionUnknown):
        left = replace(record, launcher=launcher.gone(record.launcher))
    else:
        left = state.as_before(record)
        place.remove(f"{record.job_dir}/{contract.SECRETS}")
    with suppress(RecordError):  # what was written before says that it is being resumed: the next look puts it back
        records.change(folder, record, lambda now: left if records.is_same_start(now, record) else now)


def _secrets(record: Record, place: FileSystem, environ: Mapping[str, str]) -> bytes | None:
    """Content of the file of secrets, with this shell's values; the names are in the plan.

    Where this shell lacks some, what the former attempt has left; None where the job needs none.
    """
    agent, plan = _orders(record, place)
    path, names = agent.get("secrets_file"), plan.get("secrets") or []
    if not path:
        return None
    unset = [name for name in names if name not in environ]
    left = place.read(path) if unset else None
    if left is not None:
        return left[0]
    if unset:
        raise JobError(f"{record.job_id} needs {', '.join(unset)}, which this shell has not.", f"export {unset[0]}=...")
    return secrets.file_content(names, environ)
