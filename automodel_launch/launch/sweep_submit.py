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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from automodel_launch import executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused, RecordError, SubmissionUnknown
from automodel_launch.executors import Order, Together
from automodel_launch.jobs import claims, launcher, records, rundir, sweeps
from automodel_launch.jobs.claims import Claim
from automodel_launch.jobs.records import Record
from automodel_launch.launch import claim, state, submit, sweeping
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.plan import gitstate, naming, packaging, secrets
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.planset import PlanSet
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.workspace import Workspace

AT_ONCE = 8  # sshd takes 10 sessions a connection unless it was told otherwise
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Reserved:
    """A point that is about to be submitted: its plan with the id that it got, its record, its run's claim."""

    plan: Plan
    record: Record
    claim: Claim


def record_sweep(made: PlanSet, workspace: Workspace) -> sweeps.Sweep:
    """Write down which runs are the sweep's, before any of them is submitted.

    Raises:
        RecordError: it cannot be written.
    """
    points = tuple(sweeps.SweepPoint(p.label, p.plan.run_name, dict(p.settings)) for p in made.points)
    plan = made.plans[0]
    where = (plan.profile_name, plan.executor)
    sweep = sweeps.Sweep(made.name, points, made.plan_hash, time.time(), *where, made.at_most)
    sweeps.save(workspace.records, sweep)
    return sweep


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
        ClusterError, RecordError: nothing was; nothing is left behind.
    """
    with interrupts.caught():
        record_sweep(made, workspace)
        made = _with_directory(made, workspace, sweeping.without(made, skipped), after)
        place = made.plans[0].place
        reserved: list[Reserved] = []
        try:
            todo = sweeping.without(made, skipped)
            more = _together(made).address(todo, Order(made.name, made.directory))
            known = records.all_records(workspace.records)
            reserve = Reserve(workspace.records, environ, say, known, more)
            for item in _each(todo, reserve.one, place == LOCAL):
                reserved += [item] if item else []
            if not reserved:
                place.remove(made.directory)
                return []
            return _hand_over(made, reserved, workspace, environ, say, after)
        except SubmissionUnknown:
            _each(reserved, lambda item: _given_up(item, workspace.records), local=True)
            raise
        except (LaunchError, OSError):
            _each(reserved, lambda item: _undo(item, workspace.records), place == LOCAL)
            place.remove(made.directory)
            raise


def _hand_over(
    made: PlanSet,
    reserved: list[Reserved],
    workspace: Workspace,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    after: Sequence[str],
) -> list[Record]:
    plans = [item.plan for item in reserved]
    together, order = _together(made), Order(made.name, made.directory, made.at_most, tuple(after))
    place = plans[0].place
    _write(made, plans, workspace, place, together.files(plans, order))
    _each(plans, lambda plan: _write_secrets(plan, environ), place == LOCAL)
    handles = together.submit(plans, order)
    started = []
    for item, handle in zip(reserved, handles, strict=True):
        record = state.started(item.record, {**item.record.handle, **handle})
        with suppress(ClusterError):
            claims.submitted(item.claim, record.handle, place)
        try:
            records.save(workspace.records, record)
        except RecordError as error:
            say(f"warning: {record.job_id} was submitted, and will be looked up: {error.message}")
        started.append(record)
    return started


def _with_directory(made: PlanSet, workspace: Workspace, todo: list[Plan], after: Sequence[str]) -> PlanSet:
    """The set with a directory that is its own: another launcher may have taken the one that was planned."""
    place, root = made.plans[0].place, made.plans[0].job_root
    for _ in range(submit.RESERVATIONS):
        if made.directory and place.make(made.directory, new=True):
            return sweeping.in_directory(made, todo, after)
        taken = naming.next_job_id(made.name, place.names(root), workspace.records)
        made = replace(made, directory=f"{root}/{taken}")
    raise ClusterError(f"{root}: no free directory for sweep {made.name}.")


@dataclass(frozen=True)
class Reserve:
    """Takes a job's id and its run's claim; `more` is what finds it again, and goes into its record and the claim."""

    folder: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]
    known: list[Record]
    more: dict[str, Any]

    def one(self, plan: Plan) -> Reserved | None:
        """None where another launcher has claimed its run."""
        plan, record = submit.reserve(plan, self.folder, self.environ, self.more)
        try:
            claim.refuse_remembered(record, self.known, plan.place)
            made = claim.take(record, plan.place)
        except LaunchError as error:
            plan.place.remove(plan.job_dir)
            records.forget(self.folder, record)
            if not isinstance(error, PlanRefused):
                raise
            self.say(f"left out: {error.message}")
            return None
        data = {key: plan.data.get(key) for key in ("digest", "rows")}
        rundir.begin(plan.run_dir, plan.trained, plan.place, plan.world_size, {**data, "job_id": plan.job_id})
        return Reserved(plan, record, made)


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


def _write_secrets(plan: Plan, environ: Mapping[str, str]) -> None:
    if plan.agent["secrets_file"]:
        values = secrets.file_content(plan.profile.secrets, environ)
        secrets.write(plan.place, plan.agent["secrets_file"], values)


def _given_up(item: Reserved, folder: Path) -> None:
    with suppress(RecordError):
        records.change(folder, item.record, lambda now: replace(now, launcher=launcher.gone(now.launcher)))


def _undo(item: Reserved, folder: Path) -> None:
    with suppress(ClusterError):
        claims.free(item.claim, item.plan.place)
    item.plan.place.remove(item.plan.job_dir)
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
