"""PlanSet -> the points' directories -> one submission -> Records. A point is a job like any other from then on.

Where the executor takes many jobs at once (`executors.together`): every id is reserved and every run claimed, all
directories are written in one stream and handed over in one round trip. A launcher that dies on the way loses nothing:
each point has its record before anything is submitted, and the same command goes on with those that were not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused, SubmissionUnknown
from automodel_launch.executors import Handed, Together
from automodel_launch.jobs import claims, records, sweeps
from automodel_launch.jobs.claims import Claim
from automodel_launch.jobs.records import Record
from automodel_launch.launch import claim, lanes, origin, state, submit, successors, sweep_beside, sweeping, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.plan import gitstate, naming, packaging
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.planset import PlanSet
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.remote.shell import AT_ONCE
from automodel_launch.workspace import Workspace

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class Reserved:
    """A point that is about to be submitted: its plan with the id that it got, its record, its run's claim once it has
    that."""

    plan: Plan
    record: Record
    claim: Claim | None = None


def record_sweep(made: PlanSet, workspace: Workspace) -> sweeps.Sweep:
    """Write down which runs are the sweep's, before any of them is submitted.

    Raises:
        RecordError: it cannot be written.
    """
    sweep = recorded(made, workspace)
    sweeps.save(workspace.records, sweep)
    return sweep


def recorded(made: PlanSet, workspace: Workspace) -> sweeps.Sweep:
    """What will be written down: a sweep of this name that is there already grows by the set's points."""
    points = tuple(sweeps.SweepPoint(p.label, p.plan.run_name, dict(p.settings)) for p in made.points)
    plan = made.plans[0]
    where = (plan.profile_name, plan.executor)
    sweep = sweeps.Sweep(made.name, points, made.plan_hash, time.time(), *where, made.at_most)
    return sweeps.grown(sweeps.exact(workspace.records, made.name), sweep)


def submit_together(
    made: PlanSet,
    workspace: Workspace,
    environ: Mapping[str, str],
    interrupts: Interrupts,
    say: Callable[[str], None],
    skipped: Iterable[str] = (),
    after: Sequence[str] = (),
) -> list[Record]:
    """Submit all points but those in `skipped`, in one round trip; the records of those that were.

    A point whose run another launcher has claimed meanwhile is left out, and said.

    Raises:
        SubmissionUnknown: some may have been submitted.
        ClusterError, RecordError: nothing was, or no more than the message tells; nothing is left of the others.
        PlanRefused: NeMo-Run cannot be imported; nothing is left.
    """
    executors.get(made.plans[0].executor).ready()
    with interrupts.caught():
        record_sweep(made, workspace)
        sweep_beside.tell(made)
        shown = made
        made = _with_directory(made, workspace)
        place = made.plans[0].place
        todo = sweeping.without(made, skipped)
        more = _together(made).address(todo, sweeping.order_of(made))
        reserve = Reserve(workspace.records, environ, say, records.all_records(workspace.records), more)
        try:
            _each(todo, reserve.one, place == LOCAL)
            reserved = reserve.in_order(todo)
            as_shown = shown.script if (made.directory, len(reserved)) == (shown.directory, len(todo)) else None
            handed = _hand_over(made, reserved, workspace, environ, after, as_shown) if reserved else Handed(())
        except (LaunchError, OSError):
            _undo_all(reserve.made.values(), workspace.records)
            with suppress(ClusterError):
                place.remove(made.directory)
            raise
        if not reserved:
            place.remove(made.directory)
        return _settled(handed, reserved, workspace.records, say)


def _hand_over(
    made: PlanSet,
    reserved: list[Reserved],
    workspace: Workspace,
    environ: Mapping[str, str],
    after: Sequence[str],
    as_shown: str | None,
) -> Handed:
    """Write all directories, and submit them. `as_shown`: the script that was shown, where nothing has come between.

    Raises:
        ClusterError: nothing was submitted.
    """
    plans = [item.plan for item in reserved]
    together, order = _together(made), sweeping.order_of(made, after)
    place = plans[0].place
    files = together.files(plans, order)
    if as_shown is not None and files[contract.SCRIPT] != as_shown:
        raise ClusterError("the sweep's script differs from the one that the dry run shows; nothing was submitted.")
    if together.waits_for_runs(plans, order) and made.at_most:
        busy = _busy(made, workspace.records, after, environ)
        joined = lanes.join(workspace.records, [item.record for item in reserved], busy, made.at_most, place)
        for item, record in zip(reserved, joined, strict=True):
            item.record = record
    _each(reserved, lambda item: waiting.register(item.record.after, item.record, place), place == LOCAL)
    _write(made, plans, workspace, place, files)
    _each(plans, lambda plan: submit.write_secrets(plan, environ), place == LOCAL)
    handed = together.submit(plans, order)
    if handed.error and not any(handed.handles) and not isinstance(handed.error, SubmissionUnknown):
        raise handed.error
    return handed


def _busy(made: PlanSet, folder: Path, slurm_ids: Sequence[str], environ: Mapping[str, str]) -> list[Record]:
    """The jobs with these ids, which `standing` has told."""
    own = records.all_records(folder)
    jobs = [*sweep_beside.busy(made, [record.run_name for record in own], environ), *own]
    known = {str(record.handle.get("slurm_id")): record for record in jobs}
    return [known[slurm_id] for slurm_id in slurm_ids if slurm_id in known]


def _settled(handed: Handed, reserved: list[Reserved], folder: Path, say: Callable[[str], None]) -> list[Record]:
    """The records of those that were taken, completed; nothing is left of those that were not.

    Raises:
        ClusterError: what has kept some from being submitted.
    """
    each = list(zip(reserved, handed.handles, strict=True))
    taken = [(item, handle) for item, handle in each if handle is not None]
    left, seen = [item for item, handle in each if handle is None], waiting.Seen()

    def keep(one: tuple[Reserved, dict[str, Any]]) -> Record:
        item, handle = one
        record = state.started(item.record, {**item.record.handle, **handle})
        if item.claim:
            with suppress(ClusterError):
                claims.submitted(item.claim, record.handle, item.plan.place)
        submit.save_started(folder, record, say)
        return record

    local = all(item.plan.place == LOCAL for item in reserved)
    started = _each(taken, keep, local)
    # A run may have ended before it was known there that these wait for it; also one of their own, hence after all.
    _each(started, lambda record: waiting.settle(record, say, seen), local)
    if isinstance(handed.error, SubmissionUnknown):
        for item in left:
            submit.give_up(folder, item.record)
    else:
        _undo_all(left, folder)
    if handed.error:
        raise handed.error
    return started


def _with_directory(made: PlanSet, workspace: Workspace) -> PlanSet:
    """The set with a directory that is its own: another launcher may have taken the one that was planned."""
    place, root = made.plans[0].place, made.plans[0].job_root
    for _ in range(submit.RESERVATIONS):
        if made.directory and place.make(made.directory, new=True):
            return made
        taken = naming.next_job_id(made.name, place.names(root), workspace.records)
        made = replace(made, directory=f"{root}/{taken}")
    raise ClusterError(f"{root}: no free directory for sweep {made.name}.")


@dataclass(frozen=True)
class Reserve:
    """Takes jobs' ids and their runs' claims; `more` is what finds them again, and goes into records and claims.

    `made` has whatever was taken, by run, also where something fails half-way: somebody has to give it back.
    """

    folder: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]
    known: list[Record]
    more: dict[str, Any]
    made: dict[str, Reserved] = field(default_factory=dict)

    def one(self, plan: Plan) -> None:
        """Nothing where another launcher has claimed its run, which is said."""
        plan, record = submit.reserve(plan, self.folder, self.environ, self.more)
        item = self.made[plan.run_name] = Reserved(plan, record)
        try:
            claim.refuse_remembered(record, self.known, plan.place)
            item.claim = claim.take(record, plan.place)
        except PlanRefused as error:
            _undo(self.made.pop(plan.run_name), self.folder)
            self.say(f"left out: {error.message}")
            return
        submit.begin_run(plan)
        origin.tell_its_run(plan)

    def in_order(self, plans: Sequence[Plan]) -> list[Reserved]:
        """What was taken, in the order of the plans."""
        return [self.made[plan.run_name] for plan in plans if plan.run_name in self.made]


def _write(made: PlanSet, plans: list[Plan], workspace: Workspace, place: Any, files: Mapping[str, str]) -> None:
    """All directories in one stream: the code once, beside the script that hands the jobs over, the rest for each."""
    root, own = plans[0].job_root, made.directory.rpartition("/")[2]
    state_of_code = gitstate.record(workspace.root, (file.source for file in plans[0].files), workspace.env_file)
    texts = {f"{own}/{name}": text for name, text in files.items()}
    for plan in plans:
        for name, text in {**submit.texts_of(plan), **state_of_code}.items():
            texts[f"{plan.job_id}/{name}"] = text
    with packaging.on_disk(plans[0].files) as sources:
        place.put(root, {f"{own}/{path}": source for path, source in sources.items()}, texts)
    packaging.verify(plans[0].files)


def _undo_all(items: Iterable[Reserved], folder: Path) -> None:
    for item in list(items):
        _undo(item, folder)


def _undo(item: Reserved, folder: Path) -> None:
    """Give back what was taken; where its place does not answer, the next launcher finds that nothing came of it."""
    with suppress(ClusterError):
        if item.claim:
            claims.free(item.claim, item.plan.place)
        item.plan.place.remove(item.plan.job_dir)
        successors.forget(item.record, item.plan.place)
    records.forget(folder, item.record)


def _together(made: PlanSet) -> Together:
    found = executors.together(made.plans[0].executor)
    assert found is not None  # who calls has asked
    return found


def _each(items: Sequence[_Item], act: Callable[[_Item], _Result], local: bool) -> list[_Result]:
    """`act` of each; over a connection several at once, since each mostly waits for an answer."""
    if local:
        return [act(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, items))
