"""Points that other checkouts, or other people, have submitted of a sweep of the same name in the same job root.

`--at-most` counts them. JOB_ROOT/SWEEP/points holds a file for each set of points that was submitted with a limit;
and which job of a point's run is in the queue, its claim tells (jobs/claims.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import executors
from automodel_launch.errors import ClusterError, LaunchError
from automodel_launch.jobs import claims, launcher, sweeps
from automodel_launch.jobs.claims import Claim
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record
from automodel_launch.launch import state
from automodel_launch.launch.submit import record_of
from automodel_launch.plan.planset import PlanSet
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.remote.shell import AT_ONCE

Say = Callable[[str], None]
_POLL_S = 1.0


@contextlib.contextmanager
def alone(made: PlanSet, folder: Path, environ: Mapping[str, str], say: Say, offline: bool = False) -> Iterator[None]:
    """Until the end of the block no other launcher submits points of the sweep, so that each counts the other's.

    Of this checkout, whose records are in `folder`, none at all; of others, or other hosts, where there is a limit.

    Raises:
        ClusterError: the place does not answer, or the sweep's directory cannot be written.
    """
    with sweeps.alone(folder, made.name, say):
        turn = _turn(made, environ, say) if made.at_most is not None and not offline else contextlib.nullcontext()
        with turn:
            yield


@contextlib.contextmanager
def _turn(made: PlanSet, environ: Mapping[str, str], say: Say) -> Iterator[None]:
    """JOB_ROOT/SWEEP/claims, as a run's: it ends with its launcher, however that ends (jobs/claims.py)."""
    plan = made.plans[0]
    record = replace(record_of(plan, environ), run_dir=f"{plan.job_root}/{made.name}")
    waited = False
    while (mine := _taken(record, plan.place)) is None:
        if not waited:
            say(f"another launcher submits points of {made.name}; waiting for it")
        waited = True
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        with suppress(ClusterError):
            claims.free(mine, plan.place)


def _taken(record: Record, place: FileSystem) -> Claim | None:
    last = claims.newest(record.run_dir, place)
    if last is not None and not last.free and last.record is not None and _submits(last.record):
        return None
    return claims.make(record, last, place)


def _submits(theirs: Record) -> bool:
    """Whether its launcher does; this process may not have been able to give its own turn back."""
    who, own = theirs.launcher or {}, launcher.this()
    return launcher.is_at_it(theirs) and any(who.get(key) != own[key] for key in ("machine", "pid", "start"))


def tell(made: PlanSet) -> None:
    """Before it is submitted: which runs are the sweep's, for others.

    Raises:
        ClusterError: it cannot be written.
    """
    text = json.dumps({"runs": sorted(plan.run_name for plan in made.plans)}) + "\n"
    if made.at_most is not None:
        made.plans[0].place.create(f"{_folder(made)}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json", text)


def busy(made: PlanSet, own: Iterable[str], environ: Mapping[str, str]) -> list[Record]:
    """The jobs of points that are not among the runs `own`, and that wait or run.

    Raises:
        ClusterError: their place does not answer.
    """
    plan, place = made.plans[0], made.plans[0].place
    if made.at_most is None:
        return []
    files = [(f"{_folder(made)}/{name}", 0) for name in place.names(_folder(made)) if name.endswith(".json")]
    told = [parse(found[0]) or {} for found in place.read_many(files) if found] if files else []
    runs = {str(run) for each in told for run in each.get("runs", []) if "/" not in str(run)} - set(own)
    executor = executors.get(plan.executor)
    address = executor.address(plan, environ)
    way = {key: address.get(key) for key in executor.way}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda run: _busy(f"{plan.job_root}/{run}", way, place), sorted(runs))
        return [record for record in found if record is not None]


def _folder(made: PlanSet) -> str:
    return f"{made.plans[0].job_root}/{made.name}/points"


def _busy(run_dir: str, way: Mapping[str, Any], place: FileSystem) -> Record | None:
    claim = claims.newest(run_dir, place)
    if claim is None or claim.record is None or claim.free:
        return None
    record = replace(claim.record, handle={**claim.record.handle, **way})
    handle = claim.handle
    if handle is None and not launcher.is_surely_at_it(record):
        with suppress(LaunchError):  # one that cannot be told is not counted, and a launch of its run is refused
            handle = state.found(record)
    if handle is None:
        return None
    record = state.started(record, {**handle, **way})
    return record if state.of(record).underway else None
