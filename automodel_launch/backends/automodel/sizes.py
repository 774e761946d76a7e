"""A training in numbers, for the preview."""

from __future__ import annotations

from automodel_launch.backends import Sizes
from automodel_launch.backends.automodel import datasets, step_scheduler
from automodel_launch.backends.automodel.checks import memory
from automodel_launch.backends.automodel.data import request, tokens
from automodel_launch.backends.automodel.model import compute, parameters, shape
from automodel_launch.backends.data import facts
from automodel_launch.backends.data.tokens import epochs as times_read
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpu_models

_UNEVEN = "an uneven load of the experts and the buffers of a GPU's dispatcher are in neither"


def of(plan: Plan, with_data: bool) -> Sizes:
    """The sizes of a plan's training; its data are probed where this machine sees them."""
    steps, sequence = step_scheduler.steps(plan.config), datasets.sequence(plan.config)
    model = shape.read(plan.config, plan.visible)
    count = parameters.count(model) if model else None
    a_step = steps.global_batch * sequence[1] if steps and sequence else None
    total = a_step * steps.max_steps if a_step and steps and steps.max_steps else None
    estimated = memory.estimated(plan, model, count) if model and count else None
    parts = tokens.of_training(plan.config, facts.here(plan, request.of(plan))) if with_data and plan.visible else []
    utilization = compute.utilization(model) if model else None
    peak = gpu_models.peak(plan.profile.gpu) if plan.profile.gpu else None
    flops = compute.per_token(model, count, sequence[1]) if model and count and sequence else None
    hours = flops * total / (peak * utilization) / 3600 if flops and total and peak and utilization else None
    return Sizes(
        parameters=count.total if count else None,
        tokens_per_step=a_step,
        tokens=total,
        data_tokens=round(sum(part.tokens for part in parts)) or None,
        epochs=times_read(parts, total) if parts and total else None,
        memory=round(estimated.total - estimated.overhead) if estimated else None,
        memory_caveat=_UNEVEN if model and model.experts else None,
        flops_per_token=flops,
        gpu_hours=hours,
        utilization=utilization,
    )
