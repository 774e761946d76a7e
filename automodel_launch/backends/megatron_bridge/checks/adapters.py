"""LoRA's `peft` section: names of layers that Megatron's models do not have.

megatron.bridge compares each with a layer's own name (peft/module_matcher.py). One that is none it passes over, without
a word; where all are, nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import settings
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, nearest

_TARGETS = "peft.target_modules"
_MEGATRONS = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), "linear_qkv"),
    "o_proj": "linear_proj",
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), "linear_fc1"),
    "down_proj": "linear_fc2",
}
"""Hugging Face's name of a layer -> Megatron's, in which some are one."""
_KNOWN = ("linear_qkv", "linear_proj", "linear_fc1", "linear_fc2")
_OTHERS = (
    *("linear_q", "linear_k", "linear_v", "linear_kv", "linear_fc1_up", "linear_fc1_gate", "linear_q_proj"),
    *("linear_q_down_proj", "linear_q_up_proj", "linear_kv_down_proj", "linear_kv_up_proj", "in_proj", "out_proj"),
)


def layers(plan: Plan) -> Iterator[Finding]:
    """Hugging Face's names, and misspelt ones."""
    known = settings.of(plan.config)
    names = known.value(_TARGETS)
    if not isinstance(names, list | tuple) or not known.written(_TARGETS):
        return
    meant = {name: right for name in names if isinstance(name, str) and (right := _meant(name))}
    if not meant:
        return
    wrong, every = next(iter(meant)), len(meant) == len(names)
    what = "is Hugging Face's name" if wrong.rpartition(".")[2] in _MEGATRONS else "is no layer's name"
    then = "so that nothing would be trained" if every else "so that it has no effect"
    message = (
        f"{told(plan, known, _TARGETS)}: {wrong!r} {what}; Megatron's is {meant[wrong].rpartition('.')[2]}, {then}."
    )
    fixed = list(dict.fromkeys(meant.get(name, name) for name in names))
    fix = f"{_TARGETS}=[{','.join(json.dumps(one) for one in fixed)}]"
    yield Finding("error" if every else "warning", "bad-value", message, fix)


def _meant(name: str) -> str | None:
    """Megatron's name, with what stands before the last dot, where this one means no layer of its."""
    above, dot, last = name.rpartition(".")
    if last in (*_KNOWN, *_OTHERS) or "*" in last:
        return None
    near = nearest(last, _KNOWN)
    right = _MEGATRONS.get(last) or (near if near and alike(last, near) else None)
    return f"{above}{dot}{right}" if right else None


CHECKS = (layers,)
