"""Overrides of keys that the framework takes and the config lacks: the form that adds them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from automodel_launch import backends
from automodel_launch.config import configs, dotted
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.errors import ConfigError, LaunchError
from automodel_launch.plan.recipes import Recipe

GUESS = re.compile(r" Did you mean [^?]*\?")


def load(recipe: Recipe, wanted: str | None, overrides: list[Override]) -> MergedConfig:
    """A merged config, as config/configs.py makes it.

    Raises:
        ConfigError, UsageError: as there; of a key that the framework takes it tells how to add it.
    """
    try:
        return configs.load(recipe, wanted, overrides)
    except ConfigError as error:
        try:
            merged = configs.load(recipe, wanted, [])
        except LaunchError:
            raise error from None
        if fix := adding(recipe, merged, overrides):
            error.message, error.hint = GUESS.sub("", error.message), fix
        raise


def adding(recipe: Recipe, merged: MergedConfig, overrides: Iterable[Override]) -> str | None:
    """The fix for the first override of a key that the config lacks, where the framework takes that key."""
    known = {*dotted.all_keys(merged.data), *merged.optional}
    unknown = (one for one in overrides if one.action == "set" and one.key not in known)
    first = next((one for one in unknown if one.key.partition(".")[0] != "run"), None)
    if first is None or "=" not in first.text:
        return None
    try:
        backend = backends.of(recipe)
    except LaunchError:
        return None
    if not backend.framework or not backend.takes(merged.data, first.key):
        return None
    return f"+{first.text.lstrip('-')}, which adds it: {backend.framework.title} takes it"
