"""Megatron-Bridge's recipes by family, and the one for a model that another backend's config names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from automodel_launch.backends import Model, Offer
from automodel_launch.backends.megatron_bridge import model as model_
from automodel_launch.backends.megatron_bridge import schema
from automodel_launch.backends.megatron_bridge.schema import Recipe
from automodel_launch.backends.megatron_bridge.settings import Settings

PRETRAIN, FINETUNE = "pretrain-bridge", "finetune-bridge"  # the launcher's recipes for this backend
# model_type of a Hugging Face config -> how the names of its recipes begin
_OF_MODEL_TYPE = {
    "deepseek_v2": "deepseek_v2",
    "deepseek_v3": "deepseek_v3|moonlight",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3_1b",
    "glm4_moe": "glm45",
    "gpt_oss": "gpt_oss",
    "llama": r"llama\d",
    "nemotron_h": "nemotron",
    "olmoe": "olmoe",
    "qwen2": "qwen2",
    "qwen3": r"qwen3_[\dp]+[mb]_(?!a\d)",
    "qwen3_moe": r"qwen3_\d+b_a\d+b",
    "qwen3_next": "qwen3_next",
}


def recipes() -> Mapping[str, Sequence[str]]:
    """Family -> names, both in order; a family is the package of its recipes."""
    found: dict[str, list[str]] = {}
    for name in schema.load().recipes:
        recipe = schema.load().recipe(name)
        assert recipe is not None
        family = recipe.module.removeprefix(f"{schema.RECIPES}.").partition(".")[0]
        found.setdefault(family, []).append(name)
    return dict(sorted(found.items()))


def offer(model: Model) -> Offer | None:
    """The recipe that asks for this very model, else the one of its family that is nearest in size."""
    mode = "finetune" if model.finetunes else "pretrain"
    known = [one for name in schema.load().recipes if (one := schema.load().recipe(name)) and one.mode == mode]
    known.sort(key=lambda one: "_peft_" in one.name)  # all weights before an adapter
    usable = [one for one in known if not one.failed and not one.required and one.classes]
    of_hub = [one for one in usable if one.hub and model.hub and one.hub.lower() == model.hub.lower()]
    found = of_hub[0] if of_hub else _nearest(usable, model)
    if found is None:
        return None
    return Offer(f"{FINETUNE if model.finetunes else PRETRAIN} --recipe {found.name}", f"its recipe {found.name}")


def _nearest(usable: list[Recipe], model: Model) -> Recipe | None:
    """The recipe of its family whose size is nearest, up to twice and half; else the only one of unknown size."""
    pattern = _OF_MODEL_TYPE.get(model.family or "")
    like = [one for one in usable if pattern and re.match(pattern, one.name)]
    sizes = {one.name: model_.parameters(Settings({}, one)) for one in like}
    wanted = model.parameters or 0
    near = [one for one in like if wanted <= 2 * (sizes[one.name] or 0) <= 4 * wanted]
    if near:
        return min(near, key=lambda one: abs((sizes[one.name] or 0) - wanted))
    unknown = [one for one in like if sizes[one.name] is None]
    return unknown[0] if wanted and len(unknown) == 1 else None
