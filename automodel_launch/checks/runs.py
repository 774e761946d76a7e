"""The run that a plan starts or resumes: its last checkpoint, its settings, and whether it is paused."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.config.dotted import flatten
from automodel_launch.jobs import ownership, rundir
from automodel_launch.plan import naming
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

_FORMER = "former_name"  # of a question


def kept_for_the_job(plan: Plan) -> Iterator[Finding]:
    """References to variables that only the job has are resolved there."""
    for name in plan.deferred:
        keys = [key for key, value in flatten(plan.config) if f"${{oc.env:{name}" in str(value)]
        yield Finding("note", "kept-for-the-job", f"${{oc.env:{name}}} in {', '.join(keys)} is resolved in the job.")


def resumes(plan: Plan) -> Iterator[Finding]:
    """A run that has checkpoints resumes from the last one; so it does from those that another run has left there."""
    directory = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    step = rundir.last_step(directory) if directory and plan.visible else None
    own = directory and f"{directory}/".startswith(f"{plan.run_dir}/")
    if step is not None and not own and not rundir.has_begun(plan.run_dir):
        message = (
            f"{directory} holds a checkpoint of step {step}, and run {plan.run_name} has not begun: it would go on"
        )
        fix = "a directory of its own, below ${run.dir}; weights alone are begun with by --from"
        yield Finding("warning", "resumes", f"{message} from what another run has saved.", fix)
    elif step is not None:
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
    if plan.visible:
        return {}
    former = _former_name(plan)
    file = shlex.quote(f"{plan.job_root}/{former}/{contract.HISTORY}")
    begun = {_FORMER: f"[ ! -e {file} ] || echo begun"} if former else {}
    return {"run": ownership.question(plan.run_dir, checkpoints), **begun}


def _former_name(plan: Plan) -> str | None:
    """The name that an earlier release would have given to this run; None where it has that, or one of a person's."""
    same, digest = plan.identity or plan.trained, plan.data.get("digest")
    parts, words = (plan.recipe.name, plan.config_name), naming.readable(plan.run_name)
    now, former = (naming.run_name(*parts, of, digest, words) for of in (same, plan.trained))
    return former if plan.run_name == now != former else None


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """A finding from the answer."""
    if plan.visible:
        return
    yield from _another_users(plan, ownership.first(answers["run"].text.splitlines()))
    if answers[_FORMER].text == "begun":
        message = f"run {_former_name(plan)}, of an earlier version, has these settings; {plan.run_name} is a new one."
        yield Finding("warning", "other-name", message, f"--name {_former_name(plan)} goes on with it")


def _another_users(plan: Plan, told: str | None) -> Iterator[Finding]:
    if told:
        message, fix = ownership.message(plan.run_name, told)
        yield Finding("error", "another-users", f"{message}.", fix)


def same_run(plan: Plan) -> Iterator[Finding]:
    """A run that goes on with other settings than it was begun with: `--name` gives it any, a launch another length."""
    begun = rundir.begun_with(plan.run_dir) if plan.visible else None
    if begun is None:
        return
    changed, pace = rundir.differing(begun, plan.trained), backends.of(plan.recipe).pace(plan.trained)
    free = {*plan.pace, *pace.free, *(pace.bound if plan.pace.intersection(pace.bound) else ())}
    length = [key for key in changed if key in free]
    others = [key for key in changed if key not in length]
    longer = "; ".join(backends.of(plan.recipe).longer(begun, plan.config))
    told = f"; {longer}" if longer else ""
    if others:
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        message = (
            f"run {plan.run_name} was started with other settings; these differ: {listed}{'' if length else told}."
        )
        yield Finding("warning", "run-differs", message, "--fresh, or another --name, for a run of its own")
    if length:
        was, now = dict(flatten(begun)), dict(flatten(plan.trained))
        listed = ", ".join(f"{key} {_shown(was, key)}, now {_shown(now, key)}" for key in length)
        message = f"the same run goes on with another length or cadence than it began with: {listed}{told}."
        yield Finding("note", "other-length", message, "--fresh for a run of its own")


def another_length(plan: Plan) -> Iterator[Finding]:
    """A new run whose settings another one has but for its length, on which the order of the samples depends here."""
    pace = backends.of(plan.recipe).pace(plan.trained)
    bound = [key for key in pace.bound if key not in plan.pace]
    if not plan.visible or not bound or rundir.has_begun(plan.run_dir):
        return
    now = dict(flatten(plan.trained))
    for name in naming.siblings(plan.run_name, plan.place.names(plan.job_root)):
        begun = rundir.begun_with(f"{plan.job_root}/{name}") or {}
        was = dict(flatten(begun))
        changed = rundir.differing(begun, plan.trained) if was else []
        lengths = [key for key in changed if key in bound]
        followers = {key for key in changed if any(_follows(key, length, was, now) for length in lengths)}
        if lengths and all(key in (*bound, *pace.free) or key in followers for key in changed):
            listed = ", ".join(f"{key} = {_shown(was, key)}" for key in sorted(lengths))
            message = (
                f"run {name} has these settings with {listed}; {plan.run_name} is another run, from its first step on:"
                " its data are read more than once, or are not seen here, so their order depends on its length."
            )
            unbound = f"; or {pace.unbound}" if pace.unbound else ""
            yield Finding("warning", "other-run", message, f"--name {name} goes on with it, in another order{unbound}")
            return


def _follows(key: str, length: str, was: dict[str, Any], now: dict[str, Any]) -> bool:
    """A value that is written in terms of the length, as the end of the learning rate's schedule may be."""
    return key in was and key in now and (was[key], now[key]) == (was.get(length), now.get(length))


def _shown(values: dict[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "not set"


def begins_from(plan: Plan) -> Iterator[Finding]:
    """A checkpoint of a run that goes on: its training keeps only so many."""
    if plan.origin and plan.origin["may_go"]:
        run, limit = plan.origin["run_name"], plan.origin["limit"]
        keeps = f" and keeps only so many checkpoints ({limit})" if limit else ""  # older plans do not tell
        message = (
            f"run {run} is not finished{keeps}: its training may remove {plan.origin['checkpoint']}, whose weights"
            " every attempt of this run reads."
        )
        yield Finding("warning", "origin-may-go", message, plan.origin["fix"] or None)


def reads_again(plan: Plan) -> Iterator[Finding]:
    """Weights of a run that has trained on these very data: they are read from their beginning, in the same order."""
    if not plan.origin or not plan.visible or backends.of(plan.recipe).begins_with(plan.config) != plan.origin["path"]:
        return
    digest = plan.data.get("digest")
    if digest and digest == rundir.data(plan.origin["run_dir"], plan.place).get("digest"):
        message = f"run {plan.origin['run_name']} has trained on these data, and this one reads them from their"
        message += " beginning again, in the same order where the seed of the data is the same."
        fix = "other data, or another seed for them; a run that is to go on is launched again with a greater length"
        yield Finding("warning", "data-again", message, fix)


CHECKS = (reads_again, resumes, paused, another_users, same_run, another_length, kept_for_the_job, begins_from)
