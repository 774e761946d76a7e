"""What a plan's run has come to: new, finished, or a step from which it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automodel_launch.data_identity import compare
from automodel_launch.jobs import history, rundir

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan


@dataclass(frozen=True)
class RunState:
    """`words` for a person; `step` of the checkpoint that the job will go on from, None without one."""

    words: str
    step: int | None = None


def finished(plan: Plan, offline: bool) -> dict[str, Any] | None:
    """The end of a run that has reached it with these very settings, but for its cadence; a longer one goes on."""
    from automodel_launch import backends
    from automodel_launch.launch import identity

    end = rundir.finished(plan.run_dir, plan.place) if plan.visible or not offline else None
    steps = backends.of(plan.recipe).max_steps(plan.config)
    if end is None or (end.get("step") or 0) < (steps or 0):
        return None
    if identity.began_otherwise(plan):
        return None
    return None if plan.visible and compare(rundir.data(plan.run_dir), plan.data) else end


def look(plan: Plan) -> RunState:
    """Where the run stands; over a connection nothing is asked."""
    if not plan.visible:
        return RunState("new or resumed: seen when it is submitted")
    if not rundir.has_begun(plan.run_dir, plan.place) and _last_step(plan) is None:
        return RunState("new run")
    end = finished(plan, offline=True)
    if end is not None:
        return RunState(f"finished at step {end.get('step')}: nothing would start, --fresh starts it again")
    step = _last_step(plan)
    return RunState(_without_checkpoint(plan)) if step is None else RunState(f"resumes from step {step}", step)


def _without_checkpoint(plan: Plan) -> str:
    """What has begun and has none: a training, or what never saves any, data preparation among them."""
    from automodel_launch import backends
    from automodel_launch.launch import identity

    backend = backends.of(plan.recipe)
    if backend.checkpoint_dir(plan.config, plan.run_dir) is not None:
        return "started before, no checkpoint"
    again = f"would start it once more{f', which {backend.keeps}' if backend.keeps else ''}"
    if history.completed_at(plan.run_dir, plan.place) is None or identity.began_otherwise(plan):
        return f"started before; a launch {again}"
    return f"finished; a launch {again}"


def _last_step(plan: Plan) -> int | None:
    from automodel_launch import backends

    folder = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    return rundir.last_step(folder, plan.place) if folder else None
