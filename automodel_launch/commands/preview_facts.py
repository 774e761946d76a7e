"""What a plan trains, as far as it can be told at once: sizes of the model, the batches and the data, and how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch import backends
from automodel_launch.commands import console
from automodel_launch.plan import naming
from automodel_launch.plan.describe import in_epochs

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan


def rows(plan: Plan, step: int | None) -> Iterator[tuple[str, str]]:
    """Rows of the preview; `step` is the one from which the run goes on."""
    backend = backends.of(plan.recipe)
    known, total = backend.sizes(plan), backend.max_steps(plan.config)
    wanted = known.tokens
    if known.begins and step is None:
        yield "begins", known.begins
    yield from known.rows
    if not known.trains:
        if known.parameters:
            yield "model", f"{console.count(known.parameters)} parameters, no step is taken"
        return
    parts = [f"{console.count(known.parameters)} parameters"] if known.parameters else []
    if total and wanted:
        steps = console.many(total, "step")
        parts.append(f"{steps} x {known.tokens_per_step:,} tokens = {console.count(wanted)} tokens")
    elif known.tokens_per_step:
        parts.append(f"{known.tokens_per_step:,} tokens a step")
    elif total:
        parts.append(console.many(total, "step"))
    if parts:
        yield "trains", "; ".join(parts)
    if known.data_tokens:
        epochs = f"; the run reads {in_epochs(known.epochs)} of them" if known.epochs else ""
        yield "data", f"{console.count(known.data_tokens)} tokens{epochs}"
    if known.gpu_hours and known.utilization:
        use = f"at {known.utilization:.0%} of the peak of {plan.profile.gpu}, which is a usual share and not measured"
        yield "compute", f"about {known.gpu_hours:,.3g} GPU-hours {use}"
    rate = _last_rate(plan) if known.tokens_per_step and total else None
    if rate and known.tokens_per_step and total:
        left = total - (0 if step is None else step + 1)
        seconds = left * known.tokens_per_step / rate
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
