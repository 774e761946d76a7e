"""How AutoModel's loader reads a config: `_target_`s, and the recipe class that it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel.schema import kinds, renamed
from automodel_launch.config import dotted

RECIPE = "TrainFinetuneRecipeForNextTokenPrediction"
DISTILLATION = "KnowledgeDistillationRecipeForNextTokenPrediction"


def value(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key as AutoModel reads it: the string "3", which `${NAME,3}` leaves in a config, is 3."""
    return kinds.as_read(dotted.get(config, key))


def built(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, mapping) of every mapping with a `_target_`, outer ones first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, inner in node.items():
            yield from built(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            yield from built(inner, f"{key}.{number}")


def recipe_class(config: Mapping[str, Any]) -> str:
    """Name of AutoModel's recipe class that the config asks for, under the name that it has now."""
    named = config.get("_step_recipe") or config.get("recipe") or RECIPE
    if isinstance(named, Mapping):
        named = named.get("_target_") or RECIPE
    bare = str(named).replace(":", ".").rpartition(".")[2]
    return renamed.RECIPES.get(bare, bare)
