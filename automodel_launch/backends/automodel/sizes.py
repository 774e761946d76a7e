"""A training in numbers, for the preview."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends import Sizes
from automodel_launch.backends.automodel import datasets, evaluation, phases, starts, step_scheduler
from automodel_launch.backends.automodel.checks import memory
from automodel_launch.backends.automodel.data import request, tokens
from automodel_launch.backends.automodel.keys import RESTORE
from automodel_launch.backends.automodel.model import compute, lora, parameters, shape
from automodel_launch.backends.automodel.model.parameters import Parameters
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.backends.data import facts
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.tokens import epochs as times_read
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, in_epochs
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
    data = facts.here(plan, request.of(plan)) if with_data and plan.visible else None
    parts = tokens.of_training(plan.config, data) if data else []
    utilization = compute.utilization(model) if model else None
    peak = gpu_models.peak(plan.profile.gpu) if plan.profile.gpu else None
    flops = _operations(plan, model, count, sequence[1]) if model and count and sequence else None
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
        begins=_weights(plan),
        rows=tuple(_phases(plan, data)),
        trains=plan.recipe.name != evaluation.RECIPE,
    )


def _operations(plan: Plan, model: Shape, count: Parameters, sequence: int) -> float:
    return compute.per_token(model, count, sequence, lora.share(plan.config, model, count.total))


def _weights(plan: Plan) -> str | None:
    """With which weights it begins, where the config says so: an empty model is easily trained by mistake."""
    weights, restored = starts.begins_with(plan.config), dotted.get(plan.config, RESTORE)
    if isinstance(restored, str):
        return f"with the checkpoint {restored}"
    if weights is not None:
        return f"with the weights of {weights}"
    return "with random weights" if starts.is_random(plan.config) else None


def _phases(plan: Plan, data: DataFacts | None) -> Iterator[tuple[str, str]]:
    """Of each phase of the data its steps and tokens and, where it is more than once, how often it reads them."""
    a_step = phases.step_tokens(plan.config) or 0
    for number, phase in enumerate(phases.known(plan.config)):
        parts = tokens.of_phase(plan.config, phase, data) if data else []
        times = times_read(parts, phase.steps * a_step) if parts else 0.0
        repeated = f", {in_epochs(times)} of its data" if times > 1 else ""
        text = f"{phase.name}: steps {phase.first:,} to {phase.last:,}, {amount(phase.steps * a_step)} tokens{repeated}"
        yield "" if number else "phases", text
