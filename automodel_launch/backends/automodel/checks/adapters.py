"""LoRA's `peft` section: which of the model's layers its names mean.

nemo_automodel compares each with a layer's whole name (components/_peft/lora.py and module_matcher.py): a plain
`q_proj`, which the library peft takes, means none. Without a layer the optimizer has no weights, and says only that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.model import lora
from automodel_launch.backends.automodel.model import shape as shapes
from automodel_launch.backends.automodel.model.lora import ALL, EXCLUDED, TARGETS
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_HEADS = ("lm_head", "score", "classifier", "embed_out")  # layers whose whole name has no dot


def layers(plan: Plan) -> Iterator[Finding]:
    """Names that mean no layer, and two ways to choose layers at once."""
    targets, excluded = lora.names(plan.config, TARGETS), lora.names(plan.config, EXCLUDED)
    if not lora.is_given(plan.config) or targets is None or excluded is None:
        return
    given = [key for key, names in ((TARGETS, targets), (EXCLUDED, excluded)) if names]
    given += [ALL] if loader.value(plan.config, ALL) is True else []
    if len(given) > 1:
        message = f"{describe(plan, given[0])} and {describe(plan, given[1])}: AutoModel takes one of them."
        yield Finding("error", "bad-value", message, f"~{given[1]}")
        return
    known = lora.layers(shapes.read(plan.config, plan.visible))
    if known and excluded and all(any(lora.matches(name, layer) for name in excluded) for layer in known):
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


def _why_none(name: str, known: list[str] | None) -> str | None:
    """Why a name means no layer; None where it does, or that cannot be told."""
    if "*" not in name and "." not in name and name not in _HEADS:
        return "is compared with a layer's whole name, as model.layers.0.self_attn.q_proj"
    if known is None or name in _HEADS or any(lora.matches(name, layer) for layer in known):
        return None
    return f"means no layer of this model (they are {', '.join((*lora.ATTENTION, *lora.MLP, 'lm_head'))})"


def _is_end(name: str, known: list[str] | None) -> bool:
    """A plain name that would be one behind `*.`, as far as the model is known."""
    return "*" not in name and (known is None or any(layer.endswith(f".{name}") for layer in known))


CHECKS = (layers,)
