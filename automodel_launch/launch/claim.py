"""One run has one job in the queue: two jobs that write one set of checkpoints would destroy it.

Told by the job root itself (jobs/claims.py), so it holds for launchers of several hosts and checkouts as well.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from automodel_launch import executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused, StillSubmitting, SubmissionUnknown
from automodel_launch.jobs import claims, launcher, ownership, records
from automodel_launch.jobs.claims import Claim
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.remote.filesystem import LOCAL, FileSystem

TRIES = 5
# What an error that is no other user's says, here and through a shell
_NO_ROOM = re.compile(r"No space left on device|[Qq]uota exceeded")
_NOBODYS = re.compile(r"Read-only file system|Input/output error|Stale file handle")


class RunBusy(PlanRefused):
    """A job of the run is in the queue, runs, or may do so. `who` tells it without what that means for a launch."""

    def __init__(self, who: str, hint: str, of_a_launch: str = ".") -> None:
        super().__init__(f"{who}{of_a_launch}", hint)
        self.who = who


@contextmanager
def held(record: Record, place: FileSystem) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Claim the record's run for its job, which is submitted inside; given back where that fails for sure.

    What is yielded takes the job's handle. Where that, or the giving back, cannot be written, it is found out by who
    wants the run next.

    Raises:
        PlanRefused: another job of the run is in the queue, or runs.
        ClusterError: whether one is cannot be told, or the claim cannot be written.
    """
    claim = take(record, place)
    try:
        yield lambda handle: _quietly(lambda: claims.submitted(claim, handle, place))
    except SubmissionUnknown:
        raise
    except LaunchError:
        _quietly(lambda: claims.free(claim, place))
        raise


def take(record: Record, place: FileSystem) -> Claim:
    """The claim; see `held`."""
    for _ in range(TRIES):
        present = refuse_while_busy(record, place)
        claim = _made(record, present, place)
        if claim is not None:
            return claim
    raise PlanRefused(f"run {record.run_name}: other launchers claim it at this moment.", "launch it again")


def refuse_while_busy(record: Record, place: FileSystem) -> Claim | None:
    """The run's last claim, None where there is none; nothing is changed.

    Raises:
        RunBusy: another job of the run is in the queue, or runs.
        ClusterError: whether one is cannot be told.
    """
    present = claims.newest(record.run_dir, place)
    if present is not None and not present.free:
        _refuse_unless_over(present, record)
    return present


def refuse_remembered(ours: Record, known: Iterable[Record], place: FileSystem) -> None:
    """Where the run's directory was removed, and its claims with it: a job of the run that this checkout remembers.

    Jobs that are being submitted do not count: they claim the run at this moment.

    Raises:
        PlanRefused: it is in the queue, or runs.
    """
    if claims.newest(ours.run_dir, place) is not None:
        return
    for theirs in known:
        if theirs.job_id == ours.job_id or not _is_of_the_same_run(theirs, ours):
            continue
        now = None if theirs.launcher is not None or theirs.final else state.of(theirs)
        if now and now.underway:
            raise PlanRefused(f"{_busy(theirs, now)} Its directory is gone.", _ways_on(theirs, ours))


def _is_of_the_same_run(theirs: Record, ours: Record) -> bool:
    """Also of the same machine or cluster: two may have a directory of one name."""
    same = (theirs.run_dir, theirs.executor) == (ours.run_dir, ours.executor)
    return same and all(theirs.handle.get(key) == ours.handle.get(key) for key in _ways(ours))


def _ways(record: Record) -> tuple[str, ...]:
    return executors.get(record.executor).way


def _made(record: Record, present: Claim | None, place: FileSystem) -> Claim | None:
    try:
        return claims.make(record, present, place)
    except ClusterError as error:
        whose = ownership.here(record.run_dir) if place == LOCAL else None
        if whose:
            raise PlanRefused(*ownership.message(record.run_name, whose)) from error
        if _NO_ROOM.search(error.message):
            root = posixpath.dirname(record.run_dir)
            error.hint = f"make room there (`df -h {root}`, or your quota); or another remote_job_dir"
        elif not _NOBODYS.search(error.message):
            look = error.hint or "see `ls -ld` of it"
            error.hint = f"{look}; where the run is another user's: --name gives one of your own"
        raise


def _quietly(act: Callable[[], None]) -> None:
    with suppress(ClusterError):
        act()


def _refuse_unless_over(claim: Claim, ours: Record) -> None:
    theirs = claim.record
    if theirs is None:
        message = f"run {ours.run_name} was claimed by another user, or another version, whose note cannot be read"
        raise RunBusy(f"{message}: {claim.path}", "where none of its jobs is in the queue, remove that file")
    try:
        now = _status(claim, theirs, ours)
    except StillSubmitting as error:
        now = Status(records.SUBMITTING, error=error.message)
    except ClusterError as error:
        message = f"whether {theirs.job_id} of this run is over cannot be told: {error.message}"
        raise ClusterError(message, (error.hint or "launch it again later") + _or_fresh(ours)) from error
    if now.over or now.forgotten:
        return
    if now.state == "UNKNOWN":
        message = f"whether {theirs.job_id} of this run is over cannot be told: {now.error}"
        raise RunBusy(message, f"once it is over for certain, remove {claim.path}{_or_fresh(ours)}")
    raise RunBusy(_who(theirs, now), _ways_on(theirs, ours), _ONE_JOB)


def _busy(theirs: Record, now: Status) -> str:
    return f"{_who(theirs, now)}{_ONE_JOB}"


def _who(theirs: Record, now: Status) -> str:
    who = theirs.launcher
    where = f", submitted from {who.get('host')}" if who and not launcher.is_here(who) else ""
    return f"{theirs.job_id} of this run is in the queue or trains ({now.state}{where})"


_ONE_JOB = ", and a run has one job at a time. Nothing was submitted."


def _ways_on(theirs: Record, ours: Record) -> str:
    if theirs.job_id == ours.job_id:
        return f"python launch.py status {theirs.job_id}"
    return f"{launcher.follows(theirs.job_id, theirs.launcher)}{_or_fresh(ours)}"


def _or_fresh(ours: Record) -> str:
    return "; --fresh for a run of its own" if ours.before is None else ""  # which `resume` does not have


def _status(claim: Claim, theirs: Record, ours: Record) -> Status:
    """The state of the job of a claim; one whose launcher did not live to say that it was submitted is looked for."""
    way = _way(theirs, ours)
    if claim.handle is not None:
        return state.of(state.started(theirs, {**claim.handle, **way}))
    record = replace(theirs, handle={**theirs.handle, **way})
    found = state.found(record)
    return state.of(record if found is None else state.started(record, found))


def _way(theirs: Record, ours: Record) -> dict[str, Any]:
    """How the place is reached from here, where they reach it in another way: a tunnel, a key, a SLURM_CONF."""
    if theirs.executor != ours.executor or launcher.is_here(theirs.launcher or {}):
        return {}
    return {key: ours.handle.get(key) for key in _ways(ours)}
