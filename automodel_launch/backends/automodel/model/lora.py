"""LoRA's adapters: which layers have one, and how many parameters these are; all other weights are frozen.

LoRA: Hu et al. 2021, arXiv 2106.09685: a layer of n inputs and m outputs gets dim * (n + m) parameters. AutoModel
compares each name with a layer's whole name (components/_peft/module_matcher.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.model.shape import AS_LLAMA, Shape
from automodel_launch.config import dotted

TARGETS, EXCLUDED, ALL = "peft.target_modules", "peft.exclude_modules", "peft.match_all_linear"
DIM = "peft.dim"
CLASS = "nemo_automodel.components._peft.lora.PeftConfig"
_MOST = 1000  # layers that are compared
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
_USUAL_DIM, _USUAL = 8, ["*_proj"]
_PART = 0.01
"""Of the model's parameters, what adapters are taken for where the family's layers are not known."""


def is_given(config: Mapping[str, Any]) -> bool:
    """Whether adapters are trained, and nothing else."""
    return bool(dotted.get(config, "peft._target_") == CLASS)


def names(config: Mapping[str, Any], key: str) -> list[str] | None:
    """A list, also of one; None where it is left to the job, or is of another kind."""
    value: Any = loader.value(config, key)
    found = [value] if isinstance(value, str) else [] if value is None else value
    is_one = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if is_one and not dotted.left_to_the_job(found) else None


def layers(shape: Shape | None) -> list[str] | None:
    """The whole names of the model's linear layers; None of families that are not known here."""
    number = shape.get("num_hidden_layers") if shape else None
    if shape is None or number is None or shape.family not in AS_LLAMA or "text_config" in shape.numbers:
        return None
    parts = [*(f"self_attn.{name}" for name in ATTENTION), *(f"mlp.{name}" for name in MLP)]
    return ["lm_head", "score", *(f"model.layers.{i}.{part}" for i in range(min(number, _MOST)) for part in parts)]


def matches(pattern: str, name: str) -> bool:
    """`*` and `.*` stand for any text: no less than AutoModel, which keeps some dots as separators."""
    return re.fullmatch(".*".join(re.escape(part) for part in re.split(r"\.?\*", pattern)), name) is not None


def share(config: Mapping[str, Any], shape: Shape, total: int) -> float:
    """What of the model's `total` parameters is trained: 1 without adapters."""
    if not is_given(config):
        return 1.0
    known, widths = layers(shape), _widths(shape)
    if known is None or widths is None:
        return _PART
    dim = loader.value(config, DIM)
    dim = dim if isinstance(dim, int) and dim > 0 else _USUAL_DIM
    found = sum(dim * widths[name.rpartition(".")[2]] for name in _with_adapters(config, known))
    return min(1.0, found / total)


def _with_adapters(config: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    targets, excluded = names(config, TARGETS) or [], names(config, EXCLUDED) or []
    every = loader.value(config, ALL) is True or bool(excluded)
    patterns = excluded if every else targets or _USUAL
    for name in known:
        found = any(matches(pattern, name) for pattern in patterns)
        if name != "score" and found != every:  # `score` is a classifier's
            yield name


def _widths(shape: Shape) -> dict[str, int] | None:
    """Inputs and outputs of a layer together, by the last part of its name."""
    h, inner, vocabulary = (shape.get(name) for name in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, kv, head = shape.get("num_attention_heads"), shape.kv_heads, shape.head_dim
    if not (h and inner and vocabulary and heads and kv and head):
        return None
    query, key = h + heads * head, h + kv * head
    attention = dict(zip(ATTENTION, (query, key, key, query), strict=True))
    return {**attention, **dict.fromkeys(MLP, h + inner), "lm_head": h + vocabulary}
