"""The first lines of a dry run: what would run where, what it may cost, what it trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch.commands import console, preview_facts, run_state
from automodel_launch.profile import alone
from automodel_launch.profile.schema import keys_of

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

Row = tuple[str, str]


def lines(plan: Plan, offline: bool) -> Iterator[Row]:
    """Rows of (label, text)."""
    state = run_state.look(plan)
    how = {"run": "attached", "batch": "detached"}[plan.mode]
    yield f"{plan.job_id}: {state.words}; {how}, profile {plan.profile_name}", ""
    yield "where", _where(plan)
    if "time" in keys_of(plan.profile.executor):
        yield "time", _time(plan)
    if plan.evaluation:
        yield "evaluate", _evaluates(plan.evaluation)
    yield from preview_facts.rows(plan, state.step)
    if offline and not plan.here:
        yield "offline", _not_looked_at(plan)


def rehearsal(plan: Plan) -> Iterator[Row]:
    """That the plan could be rehearsed, and was not."""
    from automodel_launch.rehearsal import rehearsing

    what = rehearsing.possible(plan)
    if what:
        yield "rehearse", f"not done; --rehearse tries {what}, without a GPU"


def _where(plan: Plan) -> str:
    profile = plan.profile
    ranks = f" = {console.many(plan.world_size, 'rank')}" if plan.world_size > 1 else ""
    processes = console.many(plan.processes_per_node, "process", "processes")
    parts = [f"{plan.executor}, {console.many(plan.nodes, 'node')} x {processes}{ranks}"]
    if plan.profile_sources.get("nodes") == alone.EVALUATION:
        parts[0] += " (run.env.nodes=N takes more than an evaluation's own)"
    if profile.spares and "spares" in keys_of(plan.profile.executor):
        parts.append(f"{console.many(profile.spares, 'spare node')} in reserve")
    if profile.host and "host" in keys_of(plan.profile.executor) and profile.tunnel == "ssh":
        parts.append(f"through {profile.host}")
    if "partition" in keys_of(plan.profile.executor):
        own = profile.batch_partition if plan.mode == "batch" else profile.run_partition
        parts.append(f"partition {own or profile.partition or 'is the default one'}")
    if "container_image" in keys_of(plan.profile.executor):
        image = plan.image
        parts.append(f"image {image}" if image else "bare metal")
    return ", ".join(parts)


def _time(plan: Plan) -> str:
    from automodel_launch.remote import slurm_site

    profile = plan.profile
    chain = profile.chain is not None or profile.until is not None
    gpus = (plan.nodes + profile.spares) * (profile.gpus_per_node or 0)
    hours = gpus * (slurm_site.minutes(profile.time or "") or 0) / 60
    text = profile.time or "the partition's own limit (time is not set)"
    text += f" = {_hours(hours)} GPU-hours" if hours else ""
    budget = f"at most {profile.max_gpu_hours:g} GPU-hours in all (max_gpu_hours)" if profile.max_gpu_hours else ""
    if not chain:
        return f"{text}; {budget}" if budget else text
    if profile.chain is None:
        return f"{text} a job; {budget or 'no limit in all (chain is not set)'}"
    most = f" = {_hours(hours * profile.chain)} GPU-hours" if hours else ""
    return f"{text} a job; at most {console.many(profile.chain, 'job')}{most}{f', {budget}' if budget else ''}"


def _evaluates(evaluation: Plan) -> str:
    """The job for each checkpoint, which is submitted beside the training."""
    processes = console.many(evaluation.processes_per_node, "process", "processes")
    size = f"{console.many(evaluation.nodes, 'node')} x {processes}, {evaluation.profile.time or 'no time set'}"
    return f"each checkpoint in a job of its own, once it is complete: {size} (on_checkpoint)"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}".removesuffix(".0")


def _not_looked_at(plan: Plan) -> str:
    there = "" if plan.visible else "; nor were its files: data, tokenizers, the run's checkpoints"
    return f"not looked at: whether {plan.executor} would take it now{there}"
