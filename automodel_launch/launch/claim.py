"""One run has one job in the queue: two jobs that write one set of checkpoints would destroy it.

Told by the job root itself (jobs/claims.py), so it holds for launchers of several hosts and checkouts as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        present = claims.newest(record.run_dir, place)
        if present is not None and not present.free:
            _refuse_unless_over(present, record)
        claim = _made(record, present, place)
        if claim is not None:
            return claim
    raise PlanRefused(f"run {record.run_name}: other launchers claim it at this moment.", "launch it again")


def _made(record: Record, present: Claim | None, place: FileSystem) -> Claim | None:
    try:
        return claims.make(record, present, place)
    except ClusterError as error:
        whose = ownership.here(record.run_dir) if place == LOCAL else None
        if whose:
            raise PlanRefused(*ownership.message(record.run_name, whose)) from error
        error.hint = (
            f"{error.hint or 'see `ls -ld` of it'}; where the run is another user's: --name gives one of your own"
        )
        raise


def _quietly(act: Callable[[], None]) -> None:
    with suppress(ClusterError):
        act()


def _refuse_unless_over(claim: Claim, ours: Record) -> None:
    theirs = claim.record
    if theirs is None:
        message = f"run {ours.run_name} was claimed by another user, or another version, whose note cannot be read"
        raise PlanRefused(f"{message}: {claim.path}.", "where none of its jobs is in the queue, remove that file")
    try:
        now = _status(claim, theirs, ours)
    except StillSubmitting as error:
        now = Status(records.SUBMITTING, error=error.message)
    except ClusterError as error:
        message = f"whether {theirs.job_id} of this run is over cannot be told: {error.message}"
        raise ClusterError(message, f"{error.hint or 'launch it again later'}; --fresh for a run of its own") from error
    if now.over or now.forgotten:
        return
    if now.state == "UNKNOWN":
        message = f"whether {theirs.job_id} of this run is over cannot be told: {now.error}."
        raise PlanRefused(message, f"once it is over for certain, remove {claim.path}; or --fresh for a run of its own")
    raise PlanRefused(_busy(theirs, now), _ways_on(theirs, ours))


def _busy(theirs: Record, now: Status) -> str:
    where = "" if launcher.is_here(theirs.launcher or {}) else f", submitted from {(theirs.launcher or {}).get('host')}"
    return (
        f"{theirs.job_id} of this run is in the queue or trains ({now.state}{where}), and a run has one job at a time."
        " Nothing was submitted."
    )


def _ways_on(theirs: Record, ours: Record) -> str:
    if theirs.job_id == ours.job_id:
        return f"python launch.py status {theirs.job_id}"
    return f"python launch.py attach {theirs.job_id} follows it; --fresh starts a run of its own"


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
    return {key: ours.handle.get(key) for key in executors.get(ours.executor).way}
