"""What a plan trains, as far as it can be told at once: sizes of the model, the batches and the data, and how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automodel_launch.commands import console
from automodel_launch.plan import naming

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan


@dataclass(frozen=True)
class Facts:
    """Each None where it is not known."""

    parameters: int | None = None
    tokens_a_step: int | None = None
    steps: int | None = None
    data_tokens: float | None = None


def of(plan: Plan) -> Facts:
    """What the backend knows; the only function here that knows which one that is."""
    from automodel_launch.backends.automodel import keys as automodel
    from automodel_launch.backends.automodel.data import facts, tokens
    from automodel_launch.backends.automodel.model import parameters, shape

    steps, sequence = automodel.steps(plan.config), automodel.sequence(plan.config)
    if steps is None:
        return Facts()
    model = shape.read(plan.config, plan.visible, None)
    counted = parameters.count(model) if model else None
    parts = []
    for key, kind, section in automodel.datasets(plan.config):
        if key == "dataset" and plan.visible and not automodel.left_to_the_job(section):
            found = facts.here(plan)
            if automodel.NANOGPT_DATASET in kind:
                parts = tokens.nanogpt(section.get("file_pattern"), found)
            elif automodel.MEGATRON_DATASET in kind:
                parts = tokens.megatron(section, found)
    return Facts(
        counted.total if counted else None,
        steps.global_batch * sequence[1] if sequence and min(steps.global_batch, sequence[1]) > 0 else None,
        steps.max_steps if steps.max_steps and steps.max_steps > 0 else None,
        sum(part.tokens for part in parts) or None,
    )


def rows(plan: Plan, step: int | None) -> Iterator[tuple[str, str]]:
    """Rows of the preview; `step` is the one from which the run goes on."""
    known = of(plan)
    wanted = known.tokens_a_step * known.steps if known.tokens_a_step and known.steps else None
    parts = [f"{console.count(known.parameters)} parameters"] if known.parameters else []
    if known.steps and wanted:
        steps = console.many(known.steps, "step")
        parts.append(f"{steps} x {known.tokens_a_step:,} tokens = {console.count(wanted)} tokens")
    elif known.tokens_a_step:
        parts.append(f"{known.tokens_a_step:,} tokens a step")
    elif known.steps:
        parts.append(console.many(known.steps, "step"))
    if parts:
        yield "trains", "; ".join(parts)
    if known.data_tokens:
        epochs = f"; the run reads {wanted / known.data_tokens:.2g} epochs of them" if wanted else ""
        yield "data", f"{console.count(known.data_tokens)} tokens{epochs}"
    rate = _last_rate(plan) if known.tokens_a_step and known.steps else None
    if rate and known.tokens_a_step and known.steps:
        left = known.steps - (0 if step is None else step + 1)
        seconds = left * known.tokens_a_step / rate
        yield "duration", f"about {console.duration(seconds)}, at the last job's {rate:,.0f} tokens/s"


def _last_rate(plan: Plan) -> float | None:
    """Tokens a second of the run's last job, where that had as many processes."""
    from automodel_launch.jobs import rundir
    from automodel_launch.jobs.jobdir import JobDir

    last = last_job(plan)
    if last is None or rundir.world_size(plan.run_dir, plan.place) != plan.world_size:
        return None
    rate = (JobDir(f"{plan.job_root}/{last}", plan.place).last_metrics() or {}).get("tps")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def last_job(plan: Plan) -> str | None:
    """Id of the run's last job, where this machine sees its directory."""
    if not plan.visible:
        return None
    numbers = [
        int(number)
        for name in plan.place.names(plan.job_root)
        if naming.run_of(name) == plan.run_name and (number := name.rpartition(".")[2]).isdigit()
    ]
    return naming.job_id(plan.run_name, max(numbers)) if numbers else None
