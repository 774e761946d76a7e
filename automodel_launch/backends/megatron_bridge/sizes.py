"""A training in numbers, for the preview."""

from __future__ import annotations

from automodel_launch.backends import Sizes
from automodel_launch.backends.data import facts, tokens
from automodel_launch.backends.megatron_bridge import model, request, settings, training
from automodel_launch.plan.plan import Plan


def of(plan: Plan, with_data: bool) -> Sizes:
    """The sizes of a plan's training; its data are probed where this machine sees them."""
    known = settings.of(plan.config)
    step, steps = training.tokens_per_step(plan.config), training.iterations(plan.config)
    total = step * steps if step and steps and steps > 0 else None
    parts = request.parts(plan, facts.here(plan, request.of(plan))) if with_data and plan.visible else []
    return Sizes(
        parameters=model.parameters(known, plan.visible),
        tokens_per_step=step,
        tokens=total,
        data_tokens=round(sum(part.tokens for part in parts)) or None,
        epochs=tokens.epochs(parts, total) if parts and total else None,
    )
