"""The training config: the run that it goes on with, and what AutoModel's loader would read otherwise than written."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.config.configs import flatten
from automodel_launch.jobs import rundir
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def kept_for_the_job(plan: Plan) -> Iterator[Finding]:
    """Variables that only the job has are resolved there, by AutoModel."""
    for name in plan.deferred:
        keys = [key for key, value in flatten(plan.config) if f"${{oc.env:{name}" in str(value)]
        yield Finding("note", "kept-for-the-job", f"${{oc.env:{name}}} in {', '.join(keys)} is resolved in the job.")


def resumes(plan: Plan) -> Iterator[Finding]:
    """A run that has checkpoints goes on from the last one."""
    checkpoints = automodel.checkpoint_dir(plan.config)
    step = rundir.last_step(checkpoints) if checkpoints and plan.visible else None
    if step is not None:
        message = f"run {plan.run_name} exists; it goes on from its checkpoint of step {step}."
        yield Finding("note", "resumes", message, "--fresh starts anew beside it")


def paused(plan: Plan) -> Iterator[Finding]:
    """A run with a stop file: a job of it would stop at once."""
    if plan.visible and "stop" in plan.place.names(plan.run_dir):
        message = f"run {plan.run_name} is paused: {plan.run_dir}/stop is there, so its jobs end as soon as they begin."
        fix = "`python launch.py resume JOB` goes on with its last job; or remove that file"
        yield Finding("error", "paused", message, fix)


def same_run(plan: Plan) -> Iterator[Finding]:
    """A run that `--name` gives other settings than it was begun with."""
    changed = rundir.differences(plan.run_dir, plan.trained) if plan.visible else []
    if changed:
        listed = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        message = f"run {plan.run_name} was begun with other settings; these differ: {listed}."
        yield Finding("warning", "run-differs", message, "--fresh, or another --name, for a run of its own")


def same_size(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 restores each rank's place in the data by its rank: with another number of ranks, other data."""
    begun = rundir.world_size(plan.run_dir) if plan.visible else None
    checkpoints = automodel.checkpoint_dir(plan.config)
    if begun and begun != plan.world_size and checkpoints and rundir.last_step(checkpoints) is not None:
        message = f"run {plan.run_name} was begun with {begun} processes, and goes on with {plan.world_size}: AutoModel"
        message += " then reads other parts of the data than without the change, and says nothing."
        fix = f"nodes and nproc_per_node for {begun} processes; or --fresh for a run of its own"
        yield Finding("warning", "other-size", message, fix)


CHECKS = (resumes, same_size, paused, same_run, kept_for_the_job)
