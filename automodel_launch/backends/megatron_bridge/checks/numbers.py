"""Numbers that are none, and those of a model at which its first step stops."""

from __future__ import annotations

import math
from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import keys, model, settings
from automodel_launch.backends.megatron_bridge.checks.told import bad_value, told
from automodel_launch.backends.megatron_bridge.checks.values import AT_LEAST, SHARES
from automodel_launch.config import dotted
from automodel_launch.plan.describe import override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def experts(plan: Plan) -> Iterator[Finding]:
    """A token goes to so many experts as there are at most."""
    known, key = settings.of(plan.config), "model.moe_router_topk"
    chosen, number = known.number(key), model.integer(known, "num_moe_experts", plan.visible)
    if chosen is not None and number is not None and 0 < number < chosen and (known.written(key) or known.recipe):
        message = f"{told(plan, known, key)}: a token would go to more experts than the model's {number}."
        yield Finding("error", "bad-value", message, override(plan, key, number))


def rotary(plan: Plan) -> Iterator[Finding]:
    """Rotary positions turn pairs of a head's numbers."""
    known, key = settings.of(plan.config), "model.kv_channels"
    width, kind = known.number(key), known.value("model.position_embedding_type")
    # a model that the recipe builds from the hub's config has them
    by_hub = known.recipe is not None and bool(known.recipe.hub) and not known.written("model.position_embedding_type")
    if known.written(key) and width and width > 0 and width % 2 and (by_hub or kind == "rope"):
        rest = " is odd, and rotary positions turn pairs."
        yield bad_value(plan, key, width, rest, override(plan, key, width + 1))


def no_numbers(plan: Plan) -> Iterator[Finding]:
    """`.nan`: what is computed with it is none either."""
    told_elsewhere = {*AT_LEAST, *SHARES, keys.LR, keys.MIN_LR}
    for key, value in dotted.leaves(plan.config):
        if isinstance(value, float) and math.isnan(value) and key not in told_elsewhere and ".blend" not in key:
            rest = " is no number, and neither is what is computed with it."
            yield bad_value(plan, key, value, rest, f"{key}=NUMBER")


CHECKS = (experts, rotary, no_numbers)
