"""What is wrong with a sweep: what all points share is said once, what one breaks names the point."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from automodel_launch import backends, checks, contract, executors
from automodel_launch.checks import in_order as in_order
from automodel_launch.data_identity import compare
from automodel_launch.jobs import launcher, records, rundir, sweeps
from automodel_launch.jobs.records import Record
from automodel_launch.launch import edges, identity, on_checkpoint, state, sweep_beside, sweeping, waiting
from automodel_launch.plan import gitstate
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.planset import PlanSet, named
from automodel_launch.remote import slurm_site
from automodel_launch.remote.shell import AT_ONCE
from automodel_launch.workspace import Workspace


def gpu_hours(plan: Plan) -> float:
    """GPU-hours that a point can take at most, by its time limit; 0 where its size, time or attempts have no limit."""
    profile = plan.profile
    if profile.max_gpu_hours is not None:
        return float(profile.max_gpu_hours)
    attempts = profile.chain or (0 if profile.until is not None else 1)
    allocated = profile.nodes + profile.spares
    return attempts * allocated * (profile.gpus_per_node or 0) * (slurm_site.minutes(profile.time or "") or 0) / 60


def run(made: PlanSet, skipped: Iterable[str] = (), offline: bool = False, waits: bool = False) -> list[Finding]:
    """All findings, errors first. The place is asked once for each profile among the points, and git once for all.

    `waits`: the points will be held until other jobs have ended, which their plans do not say yet.
    """
    with gitstate.asked_once():
        return _run(made, skipped, offline, waits)


def _run(made: PlanSet, skipped: Iterable[str], offline: bool, waits: bool) -> list[Finding]:
    asked: set[str] = set()
    found: dict[Finding, list[str]] = {}
    todo = {plan.run_name for plan in sweeping.without(made, skipped)}
    points = [point for point in made.points if point.plan.run_name in todo]
    profiles = [point.plan.profile.model_dump_json() for point in points]
    for point, profile in zip(points, profiles, strict=True):
        own = checks.run(point.plan, offline=True)
        for finding in (*own, *on_checkpoint.findings(point.plan, own)):
            found.setdefault(finding, []).append(point.label)
        if not offline and profile not in asked:
            of_place = [finding for finding in checks.run(point.plan) if finding not in own]
            same = [other.label for other, its in zip(points, profiles, strict=True) if its == profile]
            found.update(dict.fromkeys(of_place, same))
        asked.add(profile)
    edge = edges.findings(points[0].plan) if points and points[0].plan.after and not offline else ()
    said = [_of(finding, labels, len(points)) for finding, labels in found.items()]
    if points and not offline and not waits and not any(finding.code == "sbatch-refuses" for finding in said):
        said += _of_all(made, [point.plan for point in points])
    return checks.in_order([*edge, *said])


def _of_all(made: PlanSet, todo: list[Plan]) -> Iterable[Finding]:
    together = executors.together(todo[0].executor)
    return () if together is None else together.findings(todo, sweeping.order_of(made))


def _of(finding: Finding, labels: list[str], count: int) -> Finding:
    """Said of all, or of an answer that only one was asked for, as it is; else with the points that it is about."""
    if len(labels) == count or finding.level == "note":
        return finding
    return replace(finding, message=f"{named(labels)}: {finding.message}")


def standing(made: PlanSet, workspace: Workspace, offline: bool = False) -> tuple[dict[str, str], list[str]]:
    """Points that need no submission, run name -> why, and the Slurm ids of those that are in the queue or run: also of
    points that the sweep has of a former launch, or of another checkout, which count for its limit."""
    last = {record.run_name: record for record in records.all_records(workspace.records)}
    former = sweeps.exact(workspace.records, made.name)
    names = {plan.run_name for plan in made.plans}
    others = [point.run_name for point in former.points if point.run_name not in names] if former else []
    begun_not = {} if offline else state.waiting(last[name] for name in [*names, *others] if name in last)
    seen = waiting.Seen()

    def look(record: Record) -> _Found:
        slurm_id = record.handle.get("slurm_id")
        if record.job_id in begun_not:
            return _Found(record, begun_not[record.job_id].state, True, slurm_id)
        record, now = waiting.look_at(workspace.records, record, seen)
        busy = launcher.is_at_it(record) or now.underway
        return _Found(record, now.state, busy, record.handle.get("slurm_id"))

    def of(plan: Plan) -> tuple[str | None, _Found | None]:
        if (plan.visible or not offline) and _finished(plan):
            return "finished", None
        record = last.get(plan.run_name)
        if record is None or record.run_dir != plan.run_dir or offline:
            return None, None
        found = look(record)
        done = found.state == contract.COMPLETED and record.plan_hash == plan.plan_hash  # of a script that tells no end
        return found.state if found.busy or done else None, found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        own = list(pool.map(of, made.plans))
        beside = [] if offline else list(pool.map(look, [last[name] for name in others if name in last]))
    skipped = {plan.run_name: why for plan, (why, _) in zip(made.plans, own, strict=True) if why}
    busy = [found for found in [*(found for _, found in own), *beside] if found and found.busy]
    known = {*names, *others}
    elsewhere = [] if offline else sweep_beside.busy(made, known, os.environ)
    ids = [*(found.slurm_id for found in busy), *(record.handle.get("slurm_id") for record in elsewhere)]
    return skipped, [str(slurm_id) for slurm_id in ids if slurm_id is not None]


class _Found(NamedTuple):
    """A point's last job: its state, and whether it is in the queue, runs, or is being submitted."""

    record: Record
    state: str
    busy: bool
    slurm_id: str | int | None


def _finished(plan: Plan) -> bool:
    """Whether the run has reached its end with these very settings."""
    end = rundir.finished(plan.run_dir, plan.place)
    if end is None or (end.get("step") or 0) < (backends.of(plan.recipe).max_steps(plan.config) or 0):
        return False
    if identity.began_otherwise(plan):
        return False
    return not (plan.visible and compare(rundir.data(plan.run_dir), plan.data))
