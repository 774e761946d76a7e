"""Whether a step of a pipeline is done: its run has ended, after those that it needs, and its files are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.jobs import history, rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import is_whole
from automodel_launch.launch import identity, notes
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.plangraph import FINISHED, Step
from automodel_launch.plan.planset import PlanSet
from automodel_launch.remote import filesystem

_NEEDS = "needs"  # in a job's notes.json: {run_dir: [bytes of that run's history, whether it had completed]}


def is_finished(step: Step, needs: Sequence[Step], taken: set[str]) -> bool:
    """Whether the run of a step has reached its end with these very settings, after what it needs has, and what it
    promises is there: what others take of it, `taken`, and what its kind of run leaves."""
    plan = step.plan
    wanted = backends.of(plan.recipe).max_steps(plan.config)
    ended = history.completed_at(plan.run_dir, plan.place)
    told = rundir.finished(plan.run_dir, plan.place)
    if wanted is not None and ((told or {}).get("step") or -1) < wanted:
        return False
    without = {contract.HF} - taken if told and not told.get(contract.HF) else set()  # it has exported nothing
    made = [path for name, path in step.promises.items() if name not in without]
    if ended is None or identity.began_otherwise(plan) or not _are_there(made, plan):
        return False
    return all(need.state == FINISHED for need in needs) and _came_after(
        plan, [p for n in needs for p in n.plans], ended
    )


def noting(step: Step, needs: Sequence[Step], left: Sequence[Step]) -> Step:
    """The step as it is to be submitted: its jobs' notes say how the runs that it needs stand now, `left` of which have
    not completed.

    Raises:
        ClusterError: their place does not answer.
    """
    told: dict[str, tuple[int, bool]] = {}
    for need in needs:
        found = need.plan.place.read_many([(_history(plan), -1) for plan in need.plans])
        sizes = [one[1] if one else 0 for one in found]
        done = need not in left
        told |= {plan.run_dir: (size, done) for plan, size in zip(need.plans, sizes, strict=True)}
    if not told:
        return step

    def noted(plan: Plan) -> Plan:
        return replace(plan, notes={**(plan.notes or notes.noted(plan).notes), _NEEDS: told})

    sweep = step.sweep and _each(step.sweep, noted)
    return replace(step, plan=noted(step.plan), sweep=sweep)


def _came_after(plan: Plan, needed: Sequence[Plan], ended: float) -> bool:
    """Whether no needed run was begun anew behind the end that the last job of this one took.

    By its notes, in which no clock has a say; else by the ends' times, which are those of nodes.
    """
    told = _notes_of_last_job(plan).get(_NEEDS) if needed else None
    known: dict[str, Any] = told if isinstance(told, dict) else {}
    for other in needed:
        size, done = _pair(known.get(other.run_dir))
        if size is None:
            if (history.completed_at(other.run_dir, other.place) or 0.0) > ended:
                return False
            continue
        found = other.place.read(_history(other), size)
        for row in (row for line in (found[0].splitlines() if found else ()) if (row := parse(line))):
            if row.get("event") == contract.HISTORY_BEGUN and done:
                return False
            done = done or (row.get("event") == contract.HISTORY_ENDED and history.completes(row))
    return True


def _pair(told: Any) -> tuple[int | None, bool]:
    if isinstance(told, list) and len(told) == 2 and is_whole(told[0]) and told[0] >= 0:
        return told[0], told[1] is True
    return None, False


def _notes_of_last_job(plan: Plan) -> dict[str, Any]:
    rows = [row for row in history.attempts(plan.run_dir, plan.place) if row.get("state")]
    path = f"{plan.job_root}/{rows[-1]['job_id']}/{contract.NOTES}" if rows else ""
    return parse(filesystem.whole(plan.place, path) or b"") or {} if path else {}


def _history(plan: Plan) -> str:
    return f"{plan.run_dir}/{contract.HISTORY}"


def _each(made: PlanSet, how: Callable[[Plan], Plan]) -> PlanSet:
    return replace(made, points=tuple(replace(point, plan=how(point.plan)) for point in made.points))


def _are_there(paths: Sequence[str], plan: Plan) -> bool:
    """Also of a glob, whose folder has to be there."""
    for path in {path.partition("*")[0].rstrip("/") for path in paths if path.startswith("/")}:
        folder, _, name = path.rpartition("/")
        if name not in plan.place.names(folder or "/"):
            return False
    return True
