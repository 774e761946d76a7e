"""A job that waits for the end of others: of their runs, whatever number of attempts and jobs that takes.

It is submitted held, and noted in RUN_DIR/after of each run that it waits for. The last attempt of such a run lets it
go, or cancels it (recipes/node_agent_lib/successors.py), also with no launcher left. Whoever looks at a job that waits
does the same: where its run's last job was cancelled before it began, died with its node, or could not reach slurmctld.
"""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused
from automodel_launch.jobs import claims, history, launcher, records
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.remote.filesystem import FileSystem

Run = Mapping[str, Any]  # an entry of Plan.after


@dataclass(frozen=True)
class Standing:
    """How a run stands that is waited for: its last job, that one's state, and what it means for who waits."""

    record: Record
    status: Status
    completed: bool = False
    paused: bool = False

    @property
    def failed(self) -> bool:
        """It has ended, and not with the end of its training; Slurm may start what is not over for good again."""
        for_good = self.status.state in contract.ENDED_FOR_GOOD or self.status.state == records.NOT_SUBMITTED
        return for_good and not (self.completed or self.paused or self.status.stuck)

    @property
    def words(self) -> str:
        """Its last job with its state, for a message."""
        said = "paused" if self.paused else self.status.state
        step = self.status.step
        if step is not None and not self.completed:  # steps count from 0, and are told as how many are done
            said += f", step {step + 1}" + (f" of {self.record.max_steps}" if self.record.max_steps else "")
        return f"{self.record.job_id} ({said})"


def run_of(record: Record) -> dict[str, Any]:
    """What is kept of a job whose run is waited for, from now on.

    Raises:
        ClusterError: its place does not answer.
    """
    place = executors.get(record.executor).place_of(record)
    found = place.read(f"{record.run_dir}/{contract.HISTORY}", -1)  # first: what is written after that counts
    record = _newest(record, place)
    own = {key: getattr(record, key) for key in ("run_name", "run_dir", "job_id", "job_dir")}
    return {**own, "history_bytes": found[1] if found else 0, "record": asdict(replace(record, after=[]))}


def look(run: Run) -> Standing:
    """Ask how it stands.

    Raises:
        ClusterError: its place does not answer.
    """
    kept = _kept(run)
    place = executors.get(kept.executor).place_of(kept)
    record = _newest(kept, place)
    status = state.of(record)
    ended = status.state == contract.COMPLETED or (status.over and _has_completed(run, place))
    paused = not ended and contract.STOP in place.names(kept.run_dir)
    return Standing(record, status, ended, paused)


def _newest(kept: Record, place: FileSystem) -> Record:
    """The run's last job, whoever has launched it: that of its newest claim."""
    newest = claims.newest(kept.run_dir, place)
    if newest is None or newest.record is None or newest.free:
        return kept
    way = {key: kept.handle.get(key) for key in executors.get(kept.executor).way}
    record = replace(newest.record, handle={**newest.record.handle, **way})
    if newest.handle is not None:
        return state.started(record, {**newest.handle, **way})
    if launcher.is_surely_at_it(record):
        raise ClusterError(f"{record.job_id} is being submitted now.", "ask again in a moment")
    handle = state.found(record)
    return kept if handle is None else state.started(record, handle)


def _kept(run: Run) -> Record:
    kept = records.from_json(run.get("record"))
    if kept is None:
        raise ClusterError(f"run {run.get('run_name')}: its record cannot be read.")
    return kept


def _has_completed(run: Run, place: FileSystem) -> bool:
    """Whether a job of the run has since then brought it to its end, as its history tells (predecessors.py)."""
    found = place.read(f"{run['run_dir']}/{contract.HISTORY}", int(run["history_bytes"]))
    ended = (row for line in (found[0].splitlines() if found else ()) if (row := parse(line)))
    return any(row.get("event") == contract.HISTORY_ENDED and history.completes(row) for row in ended)


def register(runs: Iterable[Run], record: Record, place: FileSystem) -> None:
    """Before the job is submitted: note in its directory what it waits for, and in each run's that it does.

    Raises:
        ClusterError: that cannot be written.
    """
    runs = list(runs)
    if not runs:
        return
    told = [{key: run[key] for key in contract.PREDECESSOR_KEYS} for run in runs]
    place.put(record.job_dir, {}, {contract.PREDECESSORS: json.dumps({"runs": told}, indent=1) + "\n"})
    note = {key: getattr(record, key) for key in contract.SUCCESSOR_KEYS}
    text = json.dumps({**note, "record": asdict(replace(record, after=[]))}) + "\n"
    for run in runs:
        place.create(_note(run, record), text)


def forget(record: Record, place: FileSystem) -> None:
    """The job waits no longer: take the notes away."""
    for run in record.after:
        with suppress(ClusterError):
            place.remove(_note(run, record))


def _is_noted(record: Record) -> bool:
    place = executors.get(record.executor).place_of(record)
    folders = [f"{run['run_dir']}/{contract.SUCCESSORS}" for run in record.after]
    return any(f"{record.job_id}.json" in place.names(folder) for folder in folders)


def _note(run: Run, record: Record) -> str:
    return f"{run['run_dir']}/{contract.SUCCESSORS}/{record.job_id}.json"


def of(record: Record) -> Status:
    """The state now of a job whose record is complete; one that waits is let go, or cancelled, where that is due."""
    return _told(record, state.of(record))


def look_at(folder: Path, record: Record) -> tuple[Record, Status]:
    """As state.look."""
    record, now = state.look(folder, record)
    told = _told(record, now)
    if told.over and not now.over:
        records.remember(folder, record, told)
    return record, told


def settle(record: Record, say: Callable[[str], None] = lambda text: None) -> None:
    """Of a job that was just submitted; what cannot be asked or done now, its next look does."""
    if record.after:
        now = _told(record, Status(contract.PENDING, held=True))
        if now.over:
            say(f"{record.job_id} was cancelled: {now.error}")


def _told(record: Record, now: Status) -> Status:
    if not record.after or now.state != contract.PENDING or not now.held:
        return now
    try:
        if not _is_noted(record):  # it has been let go before, and somebody holds it
            return now
        runs = [look(run) for run in record.after]
        failed = next((run for run in runs if run.failed), None)
        left = [run for run in runs if not run.completed]
        if failed:
            why = f"it was to follow {failed.words}"
            withdraw(record, why)
            return Status(contract.CANCELLED, code=contract.TERMINATED, error=why, ended=time.time())
        if left:
            return replace(now, reason=f"for {', '.join(run.words for run in left)}", advice=_advice(left))
        _holding(record).let_go(record)
        forget(record, executors.get(record.executor).place_of(record))
    except (LaunchError, KeyError, TypeError, ValueError) as error:  # a record that somebody has edited, too
        said = getattr(error, "message", repr(error))
        return replace(now, reason=f"for {', '.join(_names(record))}, whose state cannot be told: {said}", advice=None)
    said = "has" if len(runs) == 1 else "have"
    return replace(now, reason=f"{', '.join(_names(record))} {said} completed: released now", advice=None, held=False)


def words(status: Status) -> str:
    """Of a job that waits: for what."""
    reason = str(status.reason)
    return f"waiting {reason}" if reason.startswith("for ") else f"waiting: {reason}"


def _names(record: Record) -> list[str]:
    return [str(run.get("run_name")) for run in record.after]


def _advice(left: list[Standing]) -> str | None:
    stands = next((run for run in left if run.paused or run.status.stuck), None)
    return f"python launch.py resume {stands.record.job_id}" if stands else None


def _holding(record: Record) -> executors.Holding:
    found = executors.holding(record.executor)
    if found is None:
        raise ClusterError(f"executor '{record.executor}' holds no jobs.")
    return found


def withdraw(record: Record, why: str) -> None:
    """Cancel a job that waits, and those that wait for it; its record says why.

    Raises:
        ClusterError: its place does not answer.
    """
    executor = executors.get(record.executor)
    place = executor.place_of(record)
    end = {**dict.fromkeys(contract.EXIT_KEYS), "schema": 1, "job_id": record.job_id, "attempt": 0, "complete": True}
    end |= {"state": contract.CANCELLED, "code": contract.TERMINATED, "error": why, "ended": time.time(), "nodes": []}
    end |= {"goes_on": False, "why": why}
    place.create(f"{record.job_dir}/{contract.EXIT}", json.dumps(end) + "\n")
    with suppress(LaunchError):  # it may have left the queue meanwhile
        executor.cancel(record)
    forget(record, place)
    cancel_waiting(record, f"{record.job_id} ({contract.CANCELLED})")


def cancel_waiting(record: Record, words: str) -> None:
    """Cancel those that wait for the run of a job that has ended without an agent, which would have done it.

    Raises:
        ClusterError: its place does not answer.
    """
    place = executors.get(record.executor).place_of(record)
    folder = f"{record.run_dir}/{contract.SUCCESSORS}"
    names = [name for name in place.names(folder) if name.endswith(".json")]
    if not names or contract.STOP in place.names(record.run_dir):
        return
    for found in place.read_many([(posixpath.join(folder, name), 0) for name in names]):
        waits = records.from_json((parse(found[0]) or {}).get("record")) if found else None
        handle = executors.get(waits.executor).find(waits) if waits else None
        if waits and handle is not None:
            withdraw(state.started(waits, handle), f"it was to follow {words}")
    for name in names:
        place.remove(posixpath.join(folder, name))


def refuse_early(record: Record) -> None:
    """A job that is to be resumed, and has not begun because another one has not completed.

    Raises:
        PlanRefused: that has not changed.
        ClusterError: it cannot be told.
    """
    place = executors.get(record.executor).place_of(record)
    if not record.after or contract.CHAIN in place.names(record.job_dir):
        return
    for run in record.after:
        now = look(run)
        if not now.completed:
            verb = "attach" if not now.status.over else "resume"
            message = f"{record.job_id} was to follow run {run['run_name']}, which has not completed: {now.words}."
            raise PlanRefused(message, f"python launch.py {verb} {now.record.job_id}; then resume {record.job_id}")
