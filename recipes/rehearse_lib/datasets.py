"""The sections of a configuration that name data: the training's, and held-out data, of which there may be several."""

from __future__ import annotations

from collections.abc import Iterable

_TRAINING = "dataset"
_HELD_OUT = "validation_dataset"  # every key that begins so: AutoModel 0.7.0, RecipeConfig.validation_dataloaders


def training(config: Iterable[object]) -> list[str]:
    """The keys of the data that are trained on: one at most."""
    return [key for key in map(str, config) if key == _TRAINING]


def held_out(config: Iterable[object]) -> list[str]:
    """The keys of held-out data."""
    return [key for key in map(str, config) if key.startswith(_HELD_OUT)]


def keys(config: Iterable[object]) -> list[str]:
    """The keys of all of them, the training's first."""
    return [*training(config), *held_out(config)]
