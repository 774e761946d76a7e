"""Megatron-Bridge's recipes by family, and the one for a model that another backend's config names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from automodel_launch.backends import Model, Offer
from automodel_launch.backends.megatron_bridge import model as model_
from automodel_launch.backends.megatron_bridge import schema
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
    usable = [one for one in known if not one.failed and not one.required and one.classes]
    of_hub = [one for one in usable if one.hub and model.hub and one.hub.lower() == model.hub.lower()]
    if of_hub:
        found = of_hub[0]
    else:
        pattern = _OF_MODEL_TYPE.get(model.family or "")
        like = [one for one in usable if pattern and re.match(pattern, one.name)]
        sized = {one.name: model_.parameters(Settings({}, one)) for one in like}
        near = [one for one in like if sized[one.name] and model.parameters]
        if not near:
            return None
        wanted = model.parameters or 0
        found = min(near, key=lambda one: abs((sized[one.name] or 0) - wanted))
        if not 0.5 * wanted <= (sized[found.name] or 0) <= 2 * wanted:
            return None
    return Offer(f"{FINETUNE if model.finetunes else PRETRAIN} --recipe {found.name}", f"its recipe {found.name}")
