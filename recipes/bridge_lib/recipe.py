"""The recipe's function: found by its name or path, called, and what its arguments mean."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pretrain_lib.config import ConfigError, one_line

from .blend import BLEND
from .hf_configs import Unavailable, Unreached

_SUFFIX = "_config"
_PACKAGE = "megatron.bridge.recipes"


def build(name: str, arguments: Mapping[str, Any]) -> Any:
    """The recipe's ConfigContainer. BLEND is passed on where the function takes it, and left to others where not.

    Raises:
        ConfigError: there is no such recipe, or it takes other arguments, or it is no recipe.
    """
    function = find(name)
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    passed = {key: value for key, value in arguments.items() if key in parameters or (takes_all and key != BLEND)}
    unknown = [key for key in arguments if key not in passed and key != BLEND]
    if unknown:
        takes = [key for key, value in parameters.items() if value.kind is not value.VAR_KEYWORD]
        valid = f"it takes {', '.join([*takes, BLEND])}; what is a setting goes to its section"
        raise ConfigError(f"recipe: {name} takes no {unknown[0]!r}: {valid}")
    try:
        config = function(**passed)
    except Unavailable as error:
        raise ConfigError(f"recipe: {name}: {one_line(error)}") from error
    except (TypeError, ValueError, AssertionError) as error:
        if _caused_by(error, Unreached):
            raise  # no fault of the config's: another attempt may find the hub
        cause = _caused_by(error, Unavailable)
        raise ConfigError(f"recipe: {name}: {one_line(cause or error)}") from error
    if not hasattr(config, "train") or not hasattr(config, "model"):
        raise ConfigError(f"recipe: {name} returns {type(config).__name__}, and no ConfigContainer")
    return config


def find(name: str) -> Callable[..., Any]:
    """The function of that name in megatron.bridge.recipes, or at that dotted path."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name or _PACKAGE)
    except ImportError as error:
        if error.name and not f"{module_name or _PACKAGE}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it needs is not
        raise ConfigError(f"recipe: there is no module {module_name or _PACKAGE}: {one_line(error)}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [one for one in dir(module) if one.endswith(_SUFFIX) and not one.startswith("_")]
        near = ", ".join(difflib.get_close_matches(attribute, known, 3))
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"recipe: {module.__name__} has no {attribute!r}{hint}")
    return found  # type: ignore[no-any-return]


def step_function(name: str) -> Callable[..., Any]:
    """`forward_step` of a module of Megatron-Bridge's, or the function at a dotted path."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        module_name, attribute = f"megatron.bridge.training.{name}", "forward_step"
    try:
        return getattr(importlib.import_module(module_name), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"step_func={name}: {one_line(error)}") from error


def _caused_by(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """What our look-up of configurations has raised: Megatron-Bridge wraps it."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error
