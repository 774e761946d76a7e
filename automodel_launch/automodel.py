"""What the launcher knows about AutoModel 0.7.0's config keys; no other module names one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.configs import flatten
from automodel_launch.recipes import Recipe
from automodel_launch.schemas import renamed

MEGATRON_DATASET = "MegatronPretraining"
NANOGPT_DATASET = "NanogptDataset"
PRETRAINED = "pretrained_model_name_or_path"
DATASETS = ("dataset", "validation_dataset")
VALIDATION = "validation_dataset"  # every key that begins like this names one (RecipeConfig.validation_dataloaders)
SECTIONS = ("model", "distributed", "dataset", "loss_fn", "optimizer")
RECIPE = "TrainFinetuneRecipeForNextTokenPrediction"
_PACKAGE = re.compile(r"nemo[-_.]automodel(?![\w-])", re.IGNORECASE)


def trains(recipe: Recipe) -> bool:
    """The recipe trains with AutoModel, so its config is one of AutoModel's: its metadata block depends on it."""
    return any(is_automodel(entry) for entry in recipe.dependencies)


def is_automodel(requirement: str) -> bool:
    """A distribution's name, or a requirement, is AutoModel's."""
    return _PACKAGE.match(requirement) is not None


def recipe_class(config: Mapping[str, Any]) -> str:
    """Name of AutoModel's recipe class that the config asks for, under the name that it has now."""
    named = config.get("_step_recipe") or config.get("recipe") or RECIPE
    if isinstance(named, Mapping):
        named = named.get("_target_") or RECIPE
    bare = str(named).replace(":", ".").rpartition(".")[2]
    return renamed.RECIPES.get(bare, bare)


def get(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, or None."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def has(config: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key is there, also with the value null."""
    parent, _, leaf = key.rpartition(".")
    section = get(config, parent) if parent else config
    return isinstance(section, Mapping) and leaf in section


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is neither mapping nor list, those in lists by their number."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from leaves(value, f"{key}.{number}")
    else:
        yield key, node


def built(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, mapping) of every mapping with a `_target_`, outer ones first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, value in node.items():
            yield from built(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from built(value, f"{key}.{number}")


def max_steps(config: Mapping[str, Any]) -> int | None:
    """Optimizer steps that the config asks for."""
    steps = get(config, "step_scheduler.max_steps")
    return steps if isinstance(steps, int) else None


def datasets(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(key, class name, section) of each dataset in the config."""
    for key in DATASETS:
        section = config.get(key)
        if isinstance(section, Mapping):
            yield key, str(section.get("_target_", "")).rpartition(".")[2], section


def data_paths(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of what names training data: Megatron's `paths`, nanoGPT's `file_pattern`."""
    for key, kind, section in datasets(config):
        leaf = {MEGATRON_DATASET: "paths", f"{MEGATRON_DATASET}Config": "paths", NANOGPT_DATASET: "file_pattern"}.get(
            kind.rpartition(":")[2]
        )
        if leaf and leaf in section:
            yield f"{key}.{leaf}", section[leaf]


def compiles(config: Mapping[str, Any]) -> bool:
    """Training needs a C++ compiler: MegatronPretraining builds its helper with torch's load_inline."""
    return any(MEGATRON_DATASET in kind for _, kind, _ in datasets(config))


def tokenizers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, directory or hub id) of each tokenizer: AutoModel's, and the `tokenizer:` of data preparation."""
    for key, value in flatten(config):
        parts = key.split(".")
        if isinstance(value, str) and (parts == ["tokenizer"] or parts[-2:] == ["tokenizer", PRETRAINED]):
            yield key, value


def checkpoint_dir(config: Mapping[str, Any]) -> str | None:
    """Where checkpoints go; None where they are switched off."""
    if get(config, "checkpoint.enabled") is False:
        return None
    folder = get(config, "checkpoint.checkpoint_dir")
    return folder if isinstance(folder, str) else None
