"""Values of the profile in a form that nothing takes; told here, where the cluster need not be asked."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch import executors
from automodel_launch.executors.forms import forms, options
from automodel_launch.executors.forms.fault import Fault
from automodel_launch.executors.forms.gres import count_of_gpus, of_a_step
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.schema import keys_of
from automodel_launch.remote import slurm_site
from automodel_launch.suggest import nearest

_FIRST_OPEN_PORT = 1024


def values(plan: Plan) -> Iterator[Finding]:
    """Of the keys that the executor uses."""
    used = keys_of(plan.profile.executor)
    for fault in forms.of(plan.profile):
        if fault.key.partition(".")[0] in used:
            yield _finding(plan, fault)


def unknown_options(plan: Plan, there: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Options that are not sbatch's; `there` are those that the cluster's own sbatch names."""
    if "additional_parameters" in keys_of(plan.profile.executor):
        for fault in options.unknown(plan.profile.additional_parameters, there):
            text, misspelt = _text(plan, fault), fault.level == "error"
            yield Finding("error" if misspelt else "warning", "unknown-option", text, fault.fix)


def without_option(plan: Plan, said: str, there: frozenset[str]) -> str | None:
    """What to do where sbatch has said that it lacks an option; None where that was not what it said."""
    name = slurm_site.unknown_option(said)
    if name is None:
        return None
    key = name.replace("-", "_")
    given = name in plan.profile.additional_parameters
    source = plan.source(key) if not given else plan.profile_sources.get(f"additional_parameters.{name}")
    near = nearest(name, sorted(there)) if given else None
    mend = f'"{near}", or take it out' if near else "take it out: that sbatch, or its version, has no such option"
    return f"{f'additional_parameters.{name}' if given else key} ({source or plan.profile_name}): {mend}"


def gpus(plan: Plan) -> Iterator[Finding]:
    """More processes than GPUs that the job, or its step, asks for: two ranks of NCCL cannot share one."""
    processes = plan.processes_per_node
    if plan.here or plan.recipe.launch != "torchrun":
        return
    for key, told, offered, fix in _offered(plan):
        if offered < processes:
            message = (
                f"nproc_per_node = {processes} ({plan.source('nproc_per_node')}): more processes than GPUs, of which a"
                f" node has {told} ({plan.source(key)})."
            )
            fewer = f"run.env.nproc_per_node={offered}, or " if offered else ""
            yield Finding("error", "too-few-gpus", message, fewer + fix)
            return


def _offered(plan: Plan) -> Iterator[tuple[str, str, int, str]]:
    """(key, how it is written, GPUs of a node, what else mends it) of all that says how many GPUs a node has."""
    wanted, gres = plan.profile.gpus_per_node or 0, count_of_gpus(plan.profile.gres or "")
    if wanted:
        yield "gpus_per_node", f"gpus_per_node = {wanted}", wanted, "more gpus_per_node"
    elif gres and not plan.profile.exclusive:  # which gives all that a node has
        yield "gres", f"gres = {plan.profile.gres!r}", gres, "more of them in gres"
    for word in plan.profile.srun_args if wanted or gres else ():
        count = of_a_step(word, plan.nodes)
        if count is not None:
            yield "srun_args", f"srun_args = {word!r}", count, f"leave {word} out"


def warned_at_once(plan: Plan) -> Iterator[Finding]:
    """Slurm sends `signal` when less than its time is left: from the first second, where the job has no more."""
    _, mark, seconds = (plan.profile.signal or "").partition("@")
    limit = slurm_site.minutes(plan.profile.time or "")
    if not (mark and seconds.isdigit() and limit and "signal" in keys_of(plan.profile.executor)):
        return
    if int(seconds) >= limit * 60:
        told = f"signal = {plan.profile.signal!r} ({plan.source('signal')}) comes {int(seconds):,} s before the end"
        limit_told = f"time = {plan.profile.time!r} ({plan.source('time')}) is {limit * 60:,} s"
        message = f"{told}, and {limit_told}: the job would save and end as it begins."
        yield Finding("error", "time-limit", message, f'signal = "USR1@{max(30, limit * 6)}", or a longer time')


def short_step(plan: Plan) -> Iterator[Finding]:
    """A time limit of the step's own, at which srun kills the training before it has been asked to save."""
    limit = slurm_site.minutes(plan.profile.time or "")
    for word in plan.profile.srun_args if "srun_args" in keys_of(plan.profile.executor) else ():
        name, _, value = word.partition("=")
        own = slurm_site.minutes(value) if name == "--time" else None
        if own and (limit is None or own < limit):
            what = (
                f"srun_args = {word!r} ({plan.source('srun_args')}): srun kills the training then, and nothing is saved"
            )
            yield Finding("warning", "time-limit", f"{what}.", f"time = {value!r}, before which the job saves")


def port(plan: Plan) -> Iterator[Finding]:
    """Ports below 1024 are root's, and a cluster's jobs are users'. Of this machine checks/machine.py asks."""
    number = plan.profile.rdzv_port
    if number is not None and number < _FIRST_OPEN_PORT and executors.get(plan.executor).many_nodes:
        message = f"rdzv_port = {number} ({plan.source('rdzv_port')}): only root can listen at a port below 1024."
        yield Finding("error", "bad-form", message, "leave rdzv_port out (a free one is taken), or one above 1023")


def _finding(plan: Plan, fault: Fault) -> Finding:
    text = _text(plan, fault)
    if fault.kind == "placeholder":
        return Finding("error", "placeholder", text, fault.fix)
    if fault.level == "note":
        return Finding("note", "short-time", text, fault.fix)
    return Finding("error" if fault.level == "error" else "warning", "bad-form", text, fault.fix)


def _text(plan: Plan, fault: Fault) -> str:
    """The fault with where its key was set."""
    source = plan.profile_sources.get(fault.key) or plan.source(fault.key.partition(".")[0])
    return fault.text(str(source))


CHECKS = (values, gpus, warned_at_once, short_step, port)
