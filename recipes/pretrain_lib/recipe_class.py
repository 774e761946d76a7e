"""Which recipe class a configuration names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .config import LOADER_ERRORS, ConfigError, one_line
from .output import say

DEFAULT_TARGET = "nemo_automodel.recipes.llm.train_ft:TrainFinetuneRecipeForNextTokenPrediction"
"""The recipe class of a configuration that names none. AutoModel 0.7.0 pretrains with it as well as it finetunes."""

RENAMED_RECIPES = {"TrainPretrainRecipeForNextTokenPrediction": "TrainFinetuneRecipeForNextTokenPrediction"}
"""Names that older guides use and 0.7.0 no longer has, with what took their place."""


def resolve_recipe(raw: Mapping[str, Any]) -> type[Any]:
    """Returns the class that `_step_recipe` names, else the one that `recipe` names, else the default.

    `_step_recipe` is "module:Class" and stays clear of AutoModel's `_target_`, which the loader would resolve by rules
    of its own. `recipe` is a bare class name of AutoModel, a dotted path, or a mapping with `_target_`.

    Raises:
        ConfigError: There is no such class, or it cannot be run.
    """
    named = raw.get("_step_recipe")
    found: Any
    if named is not None:
        found = _import(_as_string("_step_recipe", named), key="_step_recipe")
    elif raw.get("recipe") is not None:
        found = _from_recipe_key(raw["recipe"])
    else:
        found = _import(DEFAULT_TARGET, key="the default recipe")
    return _checked(found)


def _checked(found: Any) -> type[Any]:
    """Returns `found` if it is a class that can be set up and run."""
    if not isinstance(found, type):
        raise ConfigError(f"{found!r} is not a recipe class: it is not a class at all")
    for method in ("setup", "run_train_validation_loop"):
        if not callable(getattr(found, method, None)):
            raise ConfigError(f"{found!r} is not a recipe class: it has no method {method}()")
    return found


def _from_recipe_key(value: Any) -> Any:
    """Returns what the config's `recipe` names, in any of the three forms that AutoModel's own command line takes."""
    from nemo_automodel.cli.utils import resolve_recipe_name
    from nemo_automodel.components.config.loader import ConfigNode

    if isinstance(value, Mapping):
        target = _as_string("recipe._target_", value.get("_target_"))
        try:
            # The loader resolves this `_target_` once more with the rest of the file, so it has to be its own reading.
            return ConfigNode({"_target_": target}).get("_target_")
        except LOADER_ERRORS as error:
            raise ConfigError(f"recipe._target_: {one_line(error)}") from error
    name = _renamed(_as_string("recipe", value))
    if ":" in name:
        return _import(name, key="recipe")
    try:
        dotted = resolve_recipe_name(name)
    except ValueError as error:
        raise ConfigError(f"recipe: {one_line(error)}") from error
    module, _, attribute = dotted.rpartition(".")
    return _import(f"{module}:{attribute}", key="recipe")


def _renamed(name: str) -> str:
    """Returns the name under which this release has the recipe class, and says so where it is another."""
    bare = name.replace(":", ".").rpartition(".")[2]
    current = RENAMED_RECIPES.get(bare)
    if current is None:
        return name
    say(f"recipe {bare} is called {current} in AutoModel 0.7.0; taking that")
    return current


def _as_string(key: str, value: Any) -> str:
    """Returns `value` if it is a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} must name a recipe class, not {value!r}")
    return value.strip()


def _import(target: str, *, key: str) -> Any:
    """Returns the attribute that "module:Class" names."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f'{key}: "{target}" is not of the form "module:Class"')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{key}: cannot import {module_name}: {one_line(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f"{key}: module {module_name} has no class {attribute}") from error
