"""How findings name a value: where it is written, or that it is the recipe's."""

from __future__ import annotations

from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def told(plan: Plan, known: Settings, key: str) -> str:
    """`a.b = 4 (pretrain-bridge/mine.yaml:15)`, or `a.b = 4 (recipe qwen3_8b_pretrain_config)`."""
    if known.written(key):
        return describe(plan, key)
    value = known.value(key)
    if value is None:
        return f"{key} (not given)"
    return f"{key} = {value!r} ({f'recipe {known.recipe.name}' if known.recipe else 'default'})"


def bad_value(plan: Plan, key: str, value: object, rest: str, fix: str) -> Finding:
    """A value that another key, or Megatron-Bridge itself, rules out."""
    return Finding("error", "bad-value", f"{describe_value(plan, key, value)}{rest}", fix)
