"""A config's files and the command line's overrides -> MergedConfig. Nothing here depends on the environment."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path

from automodel_launch.config.apply import RUN_KEYS, apply, meant
from automodel_launch.config.files import MOST, RecipeConfigs, chain, find
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.errors import ConfigError
from automodel_launch.suggest import did_you_mean


def load(
    recipe: RecipeConfigs, wanted: str | None, overrides: Iterable[Override], options: Iterable[str] = ()
) -> MergedConfig:
    """Merge a config's `defaults:` chain, the config and the overrides.

    `wanted` is a name in the recipe's folder of configs or a path; `options` are the launcher's own, for suggestions.

    Raises:
        ConfigError, UsageError: unknown config, not YAML, a circle of defaults, an override that does not fit.
    """
    path = find(recipe, recipe.default_config if wanted is None else wanted)
    merged = MergedConfig(path.stem, path, optional=(*recipe.optional, "run.data", "run.data_changed"))
    for number, (document, file) in enumerate(chain(path, recipe.config_dir)):
        if number >= MOST:
            raise ConfigError(f"{path}: defaults: names more than {MOST} configs, with those that they name.")
        merged.add(document, _shown(file, recipe.config_dir.parent, path.parent.parent))
    _check_run_keys(merged)
    overrides = list(overrides)
    of_training = [override for override in overrides if override.key.partition(".")[0] != "run"]
    if of_training:
        merged.before = copy.deepcopy(merged.data)
        merged.overridden = tuple(override.text for override in of_training)
    for override in overrides:
        apply(merged, meant(merged, override, dict(recipe.short)), options)
    _check_profile_keys(merged)
    return merged


def _shown(file: Path, *bases: Path) -> Path:
    """A file as sources show it: without this machine's folders, where that is possible."""
    return next((file.relative_to(base) for base in bases if file.is_relative_to(base)), file)


def _check_run_keys(merged: MergedConfig) -> None:
    unknown = [key for key in merged.run if key not in RUN_KEYS]
    if unknown:
        raise ConfigError(
            f"{merged.where(f'run.{unknown[0]}')}: unknown key 'run.{unknown[0]}'.{did_you_mean(unknown[0], RUN_KEYS)}",
            f"`run:` takes {', '.join(RUN_KEYS)}; run.name is given by --name",
        )


def _check_profile_keys(merged: MergedConfig) -> None:
    from automodel_launch.profile.schema import WRITTEN_KEYS

    known = [key for key in WRITTEN_KEYS if key != "extends"]
    for key in merged.section("env", dict, "mapping"):
        if key not in known:
            guess = did_you_mean(str(key), known)
            raise ConfigError(f"{merged.where(f'run.env.{key}')}: run.env.{key}: not a key of a profile.{guess}")
