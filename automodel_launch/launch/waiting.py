"""A job that waits for the end of others: of their runs, whatever number of attempts and jobs that takes.

It is submitted held, and noted in RUN_DIR/after of each run that it waits for. The last attempt of such a run lets it
go, or cancels it (recipes/node_agent_lib/successors.py), also with no launcher left. Whoever looks at a job that waits
does the same: where its run's last job was cancelled before it began, died with its node, or could not reach slurmctld.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused
from automodel_launch.jobs import claims, history, launcher, records
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state, successors
from automodel_launch.launch.successors import Run as Run
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.remote.shell import AT_ONCE

_TOLD = 3


@dataclass(frozen=True)
class Standing:
    """How a run stands that is waited for: its last job, that one's state, and what it means for who waits.

    `as_failure`: it has failed, which is an end, too, for who waits (ANY_END).
    """

    record: Record
    status: Status
    completed: bool = False
    paused: bool = False
    as_failure: bool = False

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


Seen = dict[tuple[str, bool, int], Standing]


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
    found = Standing(record, status, ended, paused)
    return replace(found, completed=True, as_failure=True) if run.get(contract.ANY_END) and found.failed else found


def look_at_all(runs: Sequence[Run], seen: Seen | None = None) -> list[Standing]:
    """The same of each; they may be the points of a sweep. What is in `seen` is not asked for again, but put there.

    Raises:
        ClusterError: a place does not answer.
    """
    known: Seen = {} if seen is None else seen

    def of_one(run: Run) -> Standing:
        key = (str(run["run_dir"]), bool(run.get(contract.ANY_END)), int(run["history_bytes"]))
        if key not in known:
            known[key] = look(run)
        return known[key]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(of_one, runs))


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
    told = [{key: run[key] for key in (*contract.PREDECESSOR_KEYS, contract.ANY_END) if key in run} for run in runs]
    place.put(record.job_dir, {}, {contract.PREDECESSORS: json.dumps({"runs": told}, indent=1) + "\n"})
    successors.register(runs, record, place)


def _is_noted(record: Record) -> bool:
    place = executors.get(record.executor).place_of(record)
    return any(place.read_many([(successors.note(run, record), -1) for run in record.after]))


def of(record: Record) -> Status:
    """The state now of a job whose record is complete; one that waits is let go, or cancelled, where that is due."""
    return _told(record, state.of(record))


def look_at(folder: Path, record: Record, seen: Seen | None = None) -> tuple[Record, Status]:
    """As state.look. `seen`: shared by those that are looked at together, as all points of a sweep wait for one run."""
    record, now = state.look(folder, record)
    told = _told(record, now, seen)
    if told.over and not now.over:
        records.remember(folder, record, told)
    return record, told


def settle(record: Record, say: Callable[[str], None] = lambda text: None, seen: Seen | None = None) -> None:
    """Of a job that was just submitted; what cannot be asked or done now, its next look does. `seen`: see `look_at`."""
    if record.after:
        now = _told(record, Status(contract.PENDING, held=True), seen)
        if now.over:
            say(f"{record.job_id} was cancelled: {now.error}")


def end_early(folder: Path, record: Record, end: Status) -> None:
    """A job has ended, maybe before its agents were there: what waits for its run is cancelled, or goes on without it.

    Raises:
        ClusterError: its place does not answer.
    """
    successors.cancel_waiting(record, f"{record.job_id} ({end.state})")
    for other in records.all_records(folder):
        if not other.final and any(
            one.get(contract.ANY_END) and one["run_dir"] == record.run_dir for one in other.after
        ):
            look_at(folder, other)


def _told(record: Record, now: Status, seen: Seen | None = None) -> Status:
    if not record.after or now.state != contract.PENDING or not now.held:
        return now
    try:
        if not _is_noted(record):  # it has been let go before, and somebody holds it
            return now
        runs = look_at_all(record.after, seen)
        failed = next((run for run in runs if run.failed), None)
        left = [run for run in runs if not run.completed]
        if left and not failed:
            return replace(now, reason=f"for {some([run.words for run in left])}", advice=_advice(left))
        lost = failed.words if failed else _none_completed(record, runs)
        if lost:
            why = f"it was to follow {lost}"
            successors.withdraw(record, why)
            return Status(contract.CANCELLED, code=contract.TERMINATED, error=why, ended=time.time())
        _note_failures(record, [run for run in runs if run.as_failure])
        _holding(record).let_go(record)
        successors.forget(record, executors.get(record.executor).place_of(record))
    except (LaunchError, KeyError, TypeError, ValueError) as error:  # a record that somebody has edited, too
        said = getattr(error, "message", repr(error))
        return replace(now, reason=f"for {some(_names(record))}, whose state cannot be told: {said}", advice=None)
    said = ("has" if len(runs) == 1 else "have") + (" ended" if any(run.as_failure for run in runs) else " completed")
    return replace(now, reason=f"{some(_names(record))} {said}: released now", advice=None, held=False)


def _none_completed(record: Record, runs: Sequence[Standing]) -> str | None:
    """As choosing.none_completed in the job: a job that takes any point of a sweep has nothing to go on with."""
    place = executors.get(record.executor).place_of(record)
    found = place.read(f"{record.job_dir}/{contract.CHOICES}")
    told = ((parse(found[0]) or {}).get("choices") if found else None) or []
    done = {run.record.run_dir for run in runs if run.completed and not run.as_failure}
    for choice in told:
        points = {str(run["run_dir"]): str(run["run_name"]) for run in choice["runs"]}
        has = (point in done or history.completed_at(point, place) is not None for point in points)
        if not choice["all"] and not any(has):
            return contract.none_completed(choice["sweep"], list(points.values()))
    return None


def words(status: Status) -> str:
    """Of a job that waits: for what."""
    reason = str(status.reason)
    return f"waiting {reason}" if reason.startswith("for ") else f"waiting: {reason}"


def why(record: Record | None, status: Status) -> str:
    """Why a job has failed, or what it waits for; empty where nothing is to be said."""
    follows = record is not None and record.after and status.state == contract.PENDING and status.reason
    return words(status) if follows else status.error or status.reason or ""


def _note_failures(record: Record, runs: Sequence[Standing]) -> None:
    """For the job, which asks once more when it begins (predecessors.py)."""
    place = executors.get(record.executor).place_of(record)
    for run in runs:
        place.create(f"{record.job_dir}/{contract.ENDINGS}/{run.record.run_name}", "")


def some(words: Sequence[str]) -> str:
    """A sweep may have many points."""
    return ", ".join(words[:_TOLD]) + (f" and {len(words) - _TOLD} more" if len(words) > _TOLD else "")


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


def refuse_early(record: Record) -> None:
    """A job that is to be resumed, and has not begun because another one has not completed.

    Raises:
        PlanRefused: that has not changed.
        ClusterError: it cannot be told.
    """
    place = executors.get(record.executor).place_of(record)
    if not record.after or contract.CHAIN in place.names(record.job_dir):
        return
    stand = look_at_all(record.after)
    for run, now in zip(record.after, stand, strict=True):
        if not now.completed:
            verb = "attach" if not now.status.over else "resume"
            message = f"{record.job_id} was to follow run {run['run_name']}, which has not completed: {now.words}."
            raise PlanRefused(message, f"python launch.py {verb} {now.record.job_id}; then resume {record.job_id}")
    none = _none_completed(record, stand)
    if none:
        raise PlanRefused(f"{record.job_id} was to follow {none}.", "resume one of these first, or launch them again")
