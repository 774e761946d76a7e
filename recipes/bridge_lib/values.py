"""One value of the YAML file for one field: converted where that is certain, refused where it is not of its type."""

from __future__ import annotations

import difflib
import enum
import importlib
import inspect
import types
import typing
from pathlib import Path
from typing import Any

from pretrain_lib.config import ConfigError, one_line

_SHORT_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}


def fit(value: Any, hint: Any, key: str) -> Any:
    """The value as the field wants it. What the hint does not tell (Any, a class, a forward name) is taken as it is.

    Raises:
        ConfigError: it is of another type, or none of the names that the field may have.
    """
    hints = _alternatives(hint)
    for one in hints:
        fits, converted = _fit_one(value, one, key)
        if fits:
            return converted
    raise ConfigError(f"{key}={value!r}: expected {_valid(value, hints)}")


def like(value: Any, current: Any, hint: Any) -> bool:
    """The value is of the type that the recipe's own is, where that is not the annotated one.

    Recipes of 0.3.1 set null and numbers in fields of bool, int and enumerations (`manual_gc_eval = 100`).
    """
    if value is None:
        return current is None
    plain = all(one in (bool, int, float, type(None)) for one in _alternatives(hint))
    return plain and type(value) in (bool, int, float) and type(value) is type(current)


def _alternatives(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [one for inner in typing.get_args(hint) for one in _alternatives(inner)]
    return [hint]


def _fit_one(value: Any, hint: Any, key: str) -> tuple[bool, Any]:
    origin = typing.get_origin(hint)
    if hint is type(None):
        return value is None, None
    if origin is typing.Literal:
        return value in typing.get_args(hint), value
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _fit_enum(value, hint)
    if hint in (bool, int, float, str) or hint is Path:
        return _fit_plain(value, hint)
    if origin in (list, tuple, set) or hint in (list, tuple, set):
        kind = origin or hint
        return isinstance(value, list), kind(value) if isinstance(value, list) else value
    if origin is dict or hint is dict:
        return isinstance(value, dict), value
    if _is_dtype(hint):
        return _fit_dtype(value)
    if isinstance(value, str) and _takes_function(hint):
        return True, _function(value, key)
    return _is_open(hint) or value is None or not isinstance(value, (bool, int, float)), value


def _fit_plain(value: Any, kind: type) -> tuple[bool, Any]:
    """bool is no int; 3 is a float, and so is "3e-4", which YAML 1.1 takes for a string."""
    if kind is bool:
        return isinstance(value, bool), value
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if kind is float:
        if isinstance(value, str):
            try:
                return True, float(value)
            except ValueError:
                return False, value
        return isinstance(value, (int, float)) and not isinstance(value, bool), value
    return isinstance(value, str), value


def _fit_enum(value: Any, kind: type[enum.Enum]) -> tuple[bool, Any]:
    if isinstance(value, str) and value in kind.__members__:
        return True, kind[value]
    found = [member for member in kind if member.value == value and type(member.value) is type(value)]
    return bool(found), found[0] if found else value


def _is_dtype(hint: Any) -> bool:
    return getattr(hint, "__name__", "") == "dtype" and getattr(hint, "__module__", "") == "torch"


def _fit_dtype(value: Any) -> tuple[bool, Any]:
    import torch

    name = str(value).removeprefix("torch.")
    found = getattr(torch, _SHORT_DTYPES.get(name, name), None)
    return isinstance(found, torch.dtype), found


def _takes_function(hint: Any) -> bool:
    named = getattr(hint, "__name__", str(hint))
    generic = typing.get_origin(hint) is not None and "Callable" in named
    return generic or named in ("Callable", "callable", "ModuleSpec")


def _function(path: str, key: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}={path}: no function of that path: {one_line(error)}") from error


def _is_open(hint: Any) -> bool:
    return hint is Any or hint is object or not inspect.isclass(hint)


def _valid(value: Any, hints: list[Any]) -> str:
    names = [name for hint in hints for name in _names(hint)]
    near = difflib.get_close_matches(str(value), names, 1)
    shown = " or ".join(_shown(hint) for hint in hints)
    return f"{shown}; did you mean {near[0]}?" if near else shown


def _names(hint: Any) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return [str(one) for one in typing.get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint.__members__)
    return []


def _shown(hint: Any) -> str:
    names = _names(hint)
    if names:
        return f"one of {', '.join(names)}"
    if hint is type(None):
        return "null"
    if hint is bool:
        return "true or false"
    plain = {int: "an integer", float: "a number", str: "a string"}
    return plain.get(hint) or str(getattr(hint, "__name__", hint))
