"""The run that a plan starts or resumes: its last checkpoint, its settings, and whether it is paused."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import backends, contract
from automodel_launch.config.dotted import flatten
from automodel_launch.jobs import ownership, rundir
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results


def kept_for_the_job(plan: Plan) -> Iterator[Finding]:
    """References to variables that only the job has are resolved there."""
    for name in plan.deferred:
        keys = [key for key, value in flatten(plan.config) if f"${{oc.env:{name}" in str(value)]
        yield Finding("note", "kept-for-the-job", f"${{oc.env:{name}}} in {', '.join(keys)} is resolved in the job.")


def resumes(plan: Plan) -> Iterator[Finding]:
    """A run that has checkpoints resumes from the last one."""
    directory = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    step = rundir.last_step(directory) if directory and plan.visible else None
    if step is not None:
        message = f"run {plan.run_name} exists; it resumes from its checkpoint of step {step}."
        yield Finding("note", "resumes", message, "--fresh starts a new run beside it")


def paused(plan: Plan) -> Iterator[Finding]:
    """A run with a stop file: its jobs would stop at once."""
    if plan.visible and contract.STOP in plan.place.names(plan.run_dir):
        file = f"{plan.run_dir}/{contract.STOP}"
        message = f"run {plan.run_name} is paused: {file} exists, so its jobs end as soon as they start."
        fix = "`python launch.py resume JOB` resumes its last job; or remove that file"
        yield Finding("error", "paused", message, fix)


def another_users(plan: Plan) -> Iterator[Finding]:
    """A run that another user has begun, in a directory that this one cannot write."""
    if plan.visible:
        told = ownership.here(plan.run_dir, backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir))
        yield from _another_users(plan, told)


def asked(plan: Plan) -> dict[str, str]:
    """The same question to a cluster, asked in one round trip with the others."""
    checkpoints = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    return {} if plan.visible else {"run": ownership.question(plan.run_dir, checkpoints)}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """A finding from the answer."""
    if not plan.visible:
        yield from _another_users(plan, ownership.first(answers["run"].text.splitlines()))


def _another_users(plan: Plan, told: str | None) -> Iterator[Finding]:
    if told:
        message, fix = ownership.message(plan.run_name, told)
        yield Finding("error", "another-users", f"{message}.", fix)


def same_run(plan: Plan) -> Iterator[Finding]:
    """A run that `--name` gives other settings than it was started with."""
    changed = rundir.differences(plan.run_dir, plan.trained) if plan.visible else []
    if changed:
        listed = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        message = f"run {plan.run_name} was started with other settings; these differ: {listed}."
        yield Finding("warning", "run-differs", message, "--fresh, or another --name, for a run of its own")


def begins_from(plan: Plan) -> Iterator[Finding]:
    """A checkpoint of a run that goes on: its training keeps only so many."""
    if plan.origin and plan.origin["may_go"]:
        run, step = plan.origin["run_name"], plan.origin["step"]
        message = (
            f"run {run} is not finished: its training may remove {plan.origin['checkpoint']}, whose weights every"
            " attempt of this run reads."
        )
        export = f"python launch.py checkpoints {run} export {step}, then the same launch again"
        yield Finding("warning", "origin-may-go", message, export)


CHECKS = (resumes, paused, another_users, same_run, kept_for_the_job, begins_from)
