"""Sections of the config onto the recipe's ConfigContainer. Nothing is passed over.

Megatron-Bridge's own application of overrides logs a warning for a name that it does not know, and goes on; it takes
any value for any field. Most of what comes of that shows hours later, or never.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pretrain_lib.config import ConfigError, one_line

from . import values


def apply(config: Any, sections: Mapping[str, Any]) -> None:
    """Set every field that the sections name.

    Raises:
        ConfigError: a section or field does not exist, or a value is not of its type.
    """
    for name, section in sections.items():
        _require(name, _fields(config), "", "section")
        _set(config, name, section, name)


def _set(owner: Any, name: str, value: Any, key: str) -> None:
    current, hint = getattr(owner, name, None), _hints(type(owner)).get(name, Any)
    if isinstance(value, Mapping) and "_target_" in value:
        setattr(owner, name, _instantiated(value, key))
    elif isinstance(value, Mapping) and dataclasses.is_dataclass(current):
        for field, inner in value.items():
            _require(str(field), _fields(current), f"{key}.", f"field of {type(current).__name__}")
            _set(current, str(field), inner, f"{key}.{field}")
    elif isinstance(value, Mapping) and _section_class(hint) is not None:
        setattr(owner, name, _made(_section_class(hint), value, key))
    elif values.like(value, current, hint):
        setattr(owner, name, value)
    else:
        setattr(owner, name, values.fit(value, hint, key))


def _made(kind: Any, value: Mapping[str, Any], key: str) -> Any:
    """A section that the recipe does not have (`ft`, `straggler`), from its fields."""
    hints = _hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    made = {}
    for name, inner in value.items():
        _require(str(name), names, f"{key}.", f"field of {kind.__name__}")
        made[str(name)] = values.fit(inner, hints.get(str(name), Any), f"{key}.{name}")
    try:
        return kind(**made)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{key}: {kind.__name__}: {one_line(error)}") from error


def _section_class(hint: Any) -> Any:
    """The one dataclass that the field may hold; None where there is none, or more than one."""
    kinds = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and dataclasses.is_dataclass(one)]
    return kinds[0] if len(kinds) == 1 else None


def _instantiated(value: Mapping[str, Any], key: str) -> Any:
    from megatron.bridge.utils.instantiate_utils import InstantiationException, InstantiationMode, instantiate

    try:
        return instantiate(dict(value), mode=InstantiationMode.STRICT)
    except (InstantiationException, ImportError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{key}: {value['_target_']}: {one_line(error)}") from error


def _require(name: str, known: set[str], where: str, what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"did you mean {where}{near[0]}?" if near else f"there are {', '.join(sorted(known)[:8])}, ..."
    raise ConfigError(f"{where}{name}: no such {what}; {hint}")


def _fields(owner: Any) -> set[str]:
    """Fields, and properties that can be set (a data set's seq_length is another name of sequence_length)."""
    kind = type(owner)
    settable = {
        name
        for name in dir(kind)
        if not name.startswith("_") and isinstance(getattr(kind, name), property) and getattr(kind, name).fset
    }
    return {field.name for field in dataclasses.fields(owner) if not field.name.startswith("_")} | settable


def _hints(kind: Any) -> dict[str, Any]:
    """Types of the fields. A class whose annotations cannot be resolved has what of them can be told one by one."""
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        return {
            field.name: field.type if not isinstance(field.type, str) else Any for field in dataclasses.fields(kind)
        }
