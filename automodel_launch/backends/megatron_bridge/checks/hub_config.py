"""The content of a config.json that `hf_configs:` has: numbers that transformers would fill with its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.megatron_bridge import keys, model, settings
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value, divisors
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import nearest

_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_MORE_SIZES = ("intermediate_size", "num_key_value_heads", "head_dim", "max_position_embeddings")
_ACTIVATIONS = ("silu", "gelu", "relu", "relu2", "tanh", "gelu_pytorch_tanh")  # of AutoBridge 0.3.1
_NESTED = ("text_config", "llm_config", "language_config")


def numbers(plan: Plan) -> Iterator[Finding]:
    """Sizes are there, are positive integers, and heads divide."""
    known = settings.of(plan.config)
    given = model.hugging_face(known, plan.visible)
    if given is None or any(name in given for name in _NESTED):
        return
    key = f"{keys.HF_CONFIGS}.{known.recipe.hub if known.recipe else ''}"
    missing = [name for name in _SIZES if name not in given]
    for name in missing:
        near = nearest(name, [str(one) for one in given if one not in (*_SIZES, *_MORE_SIZES)])
        message = f"{key} has no {name}: transformers puts in a number of its own."
        fix = f"{name} in place of {near}" if near else f"{name}: NUMBER"
        yield Finding("warning", "missing-key", message, fix)
    odd = [name for name in (*_SIZES, *_MORE_SIZES) if _odd(given, name)]
    for name in odd:
        where = describe_value(plan, f"{key}.{name}", given[name])
        yield Finding("error", "wrong-type", f"{where} is not a positive integer.", f"{name}: NUMBER")
    act = given.get("hidden_act")
    if isinstance(act, str) and act not in _ACTIVATIONS and known.complete:
        message = f"{describe_value(plan, f'{key}.hidden_act', act)}: Megatron-Bridge knows {', '.join(_ACTIVATIONS)}."
        yield Finding("error", "bad-value", message, f"hidden_act: {nearest(act, _ACTIVATIONS) or 'silu'}")


def _odd(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is None:
        return name in _SIZES and name in given
    left = isinstance(value, str) and dotted.left_to_the_job(value)
    return not left and (isinstance(value, bool) or not isinstance(value, int) or value < 1)


def heads(plan: Plan) -> Iterator[Finding]:
    """Keys and values are shared by the same number of heads each."""
    known = settings.of(plan.config)
    number = model.integer(known, "num_attention_heads", plan.visible)
    groups = model.integer(known, "num_query_groups", plan.visible)
    own = model.replaced(known) or known.written(keys.HEADS) or known.written(keys.GROUPS)
    if own and number and groups and min(number, groups) > 0 and number % groups:
        message = f"the model's num_attention_heads = {number} are not divisible by num_query_groups = {groups}"
        near = min(divisors(number), key=lambda size: abs(size - groups))
        names = "num_key_value_heads of config.json" if model.replaced(known) else keys.GROUPS
        yield Finding("error", "heads", f"{message} ({names}).", f"{near}, say")


CHECKS = (numbers, heads)
