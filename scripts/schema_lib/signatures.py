"""What a callable takes: its parameters, their kinds, which are required, and whether it takes any other keyword."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

from schema_lib.annotations import kind

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature(target: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, Any] | None:
    """{"params": {name: kind}, "required": [...], "open": True where it takes any keyword}; None where Python has none.

    `without` are parameters that no config gives.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    scope = vars(sys.modules.get(getattr(target, "__module__", ""), inspect))
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in _VARIABLE and name not in without and name not in ("self", "cls")
    }
    entry: dict[str, Any] = {
        "params": {name: kind(one.annotation, one.default, scope) for name, one in named.items()},
    }
    required = [name for name, one in named.items() if one.default is inspect.Parameter.empty]
    if required:
        entry["required"] = required
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        entry["open"] = True
    return entry
