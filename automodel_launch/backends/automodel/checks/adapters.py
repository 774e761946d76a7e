"""LoRA's `peft` section: which of the model's layers its names mean.

nemo_automodel compares each with a layer's whole name (components/_peft/lora.py and module_matcher.py): a plain
`q_proj`, which the library peft takes, means none. Without a layer the optimizer has no weights, and says only that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.model import shape as shapes
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

TARGETS, EXCLUDED, ALL = "peft.target_modules", "peft.exclude_modules", "peft.match_all_linear"
_CLASS = "nemo_automodel.components._peft.lora.PeftConfig"
_HEADS = ("lm_head", "score", "classifier", "embed_out")  # layers whose whole name has no dot
_MOST = 1000  # layers that are compared
_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def layers(plan: Plan) -> Iterator[Finding]:
    """Names that mean no layer, and two ways to choose layers at once."""
    targets, excluded = _names(plan, TARGETS), _names(plan, EXCLUDED)
    if dotted.get(plan.config, "peft._target_") != _CLASS or targets is None or excluded is None:
        return
    given = [key for key, names in ((TARGETS, targets), (EXCLUDED, excluded)) if names]
    given += [ALL] if loader.value(plan.config, ALL) is True else []
    if len(given) > 1:
        message = f"{describe(plan, given[0])} and {describe(plan, given[1])}: AutoModel takes one of them."
        yield Finding("error", "bad-value", message, f"~{given[1]}")
        return
    known = _known(plan)
    if known and excluded and all(any(_matches(name, layer) for name in excluded) for layer in known):
        message = f"{describe(plan, EXCLUDED)} means every layer of this model, so that nothing would be trained."
        yield Finding("error", "bad-value", message, f'{EXCLUDED}=["lm_head"]')
    none = {name: why for name in targets if (why := _why_none(name, known))}
    if none:
        name, why = next(iter(none.items()))
        every = len(none) == len(targets)
        then = "so that nothing would be trained" if every else "so that it has no effect"
        message = f"{describe(plan, TARGETS)}: {name!r} {why}, {then}."
        meant = [f"*.{one}" if one in none else one for one in targets if one not in none or _is_end(one, known)]
        fix = f"{TARGETS}=[{','.join(json.dumps(one) for one in meant or ['*_proj'])}]"
        yield Finding("error" if every else "warning", "bad-value", message, fix)


def _names(plan: Plan, key: str) -> list[str] | None:
    """A list, also of one; None where it is left to the job, or is of another kind."""
    value: Any = loader.value(plan.config, key)
    names = [value] if isinstance(value, str) else [] if value is None else value
    is_one = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_one and not dotted.left_to_the_job(names) else None


def _known(plan: Plan) -> list[str] | None:
    """The whole names of the model's linear layers; None of families that are not known here."""
    shape = shapes.read(plan.config, plan.visible)
    number = shape.get("num_hidden_layers") if shape else None
    if shape is None or number is None or shape.family not in shapes.AS_LLAMA or "text_config" in shape.numbers:
        return None
    parts = [*(f"self_attn.{name}" for name in _ATTENTION), *(f"mlp.{name}" for name in _MLP)]
    layers = (f"model.layers.{i}.{part}" for i in range(min(number, _MOST)) for part in parts)
    return ["lm_head", "score", *layers]


def _why_none(name: str, known: list[str] | None) -> str | None:
    """Why a name means no layer; None where it does, or that cannot be told."""
    if "*" not in name and "." not in name and name not in _HEADS:
        return "is compared with a layer's whole name, as model.layers.0.self_attn.q_proj"
    if known is None or name in _HEADS or any(_matches(name, layer) for layer in known):
        return None
    return f"means no layer of this model (they are {', '.join((*_ATTENTION, *_MLP, 'lm_head'))})"


def _is_end(name: str, known: list[str] | None) -> bool:
    """A plain name that would be one behind `*.`, as far as the model is known."""
    return "*" not in name and (known is None or any(layer.endswith(f".{name}") for layer in known))


def _matches(pattern: str, name: str) -> bool:
    """`*` and `.*` stand for any text: no less than AutoModel, which keeps some dots as separators."""
    return re.fullmatch(".*".join(re.escape(part) for part in re.split(r"\.?\*", pattern)), name) is not None


CHECKS = (layers,)
