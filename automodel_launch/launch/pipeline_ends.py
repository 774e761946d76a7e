"""Whether a step of a pipeline is done: its run has ended, after those that it needs, and its files are there."""

from __future__ import annotations

from collections.abc import Sequence

from automodel_launch import backends, contract
from automodel_launch.jobs import history, rundir
from automodel_launch.launch import identity
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.plangraph import FINISHED, Step


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
    ends = [history.completed_at(other.run_dir, other.place) or 0.0 for need in needs for other in need.plans]
    return all(need.state == FINISHED for need in needs) and max(ends, default=0.0) <= ended


def _are_there(paths: Sequence[str], plan: Plan) -> bool:
    """Also of a glob, whose folder has to be there."""
    for path in {path.partition("*")[0].rstrip("/") for path in paths if path.startswith("/")}:
        folder, _, name = path.rpartition("/")
        if name not in plan.place.names(folder or "/"):
            return False
    return True
