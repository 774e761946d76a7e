"""blend.json of data preparation -> what a data set of Megatron-Bridge takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain_lib.config import ConfigError, one_line

BLEND = "per_split_data_args_path"
"""The argument of a recipe that names the file; recipes of 0.3.1 take no arguments."""

_SPLITS = ("train", "valid", "test")


def put_into(config: Any, path: Any) -> None:
    """Have the config's data set read the shards that the file names.

    The file is data preparation's: {"train": [weight, prefix, ...], "valid": [...]}. Megatron-Bridge reads it alike,
    but a split that is left out is a KeyError there, and an empty list a ValueError; None stands for no such split.

    Raises:
        ConfigError: it cannot be read, or the data set takes no blend.
    """
    if not isinstance(path, (str, Path)):
        raise ConfigError(f"recipe.{BLEND}={path!r}: expected the path of a blend.json")
    if not hasattr(config.dataset, "blend_per_split"):
        name = type(config.dataset).__name__
        raise ConfigError(f"recipe.{BLEND}: the recipe's data set, {name}, takes no blend; it is for pretraining")
    config.dataset.blend = None
    config.dataset.split = None
    config.dataset.blend_per_split = [_split(path, name, entries) for name, entries in _read(path).items()]


def _read(path: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"recipe.{BLEND}: {path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, Mapping) or not content.get("train"):
        raise ConfigError(f"recipe.{BLEND}: {path} has no list of training data under `train`")
    unknown = sorted(set(content) - set(_SPLITS))
    if unknown:
        raise ConfigError(f"recipe.{BLEND}: {path} has a split {unknown[0]!r}; there are {', '.join(_SPLITS)}")
    return {name: content.get(name) for name in _SPLITS}


def _split(path: str | Path, name: str, entries: Any) -> tuple[list[str], list[float] | None] | None:
    """(prefixes, weights); without weights where none are written."""
    if not entries:
        return None
    if isinstance(entries, str):
        entries = entries.split()
    if not isinstance(entries, list):
        raise ConfigError(f"recipe.{BLEND}: {path}: {name} is no list")
    if all(isinstance(entry, str) and not _is_number(entry) for entry in entries):
        return entries, None
    weights, prefixes = entries[::2], entries[1::2]
    if len(weights) != len(prefixes) or not all(map(_is_number, weights)):
        raise ConfigError(f"recipe.{BLEND}: {path}: {name} is no list of WEIGHT, PREFIX, WEIGHT, PREFIX, ...")
    return [str(prefix) for prefix in prefixes], [float(weight) for weight in weights]


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
