"""Does a value of a config fit a kind of the schema, as AutoModel reads it.

A kind is alternatives joined by `|`: int, float, bool, str, list, map, null, a literal in quotes; empty where any value
may do. AutoModel turns strings that are Python literals into their values (components/config/loader.py,
translate_value): "10" is a number to it, "none" is null.
"""

from __future__ import annotations

import ast
from typing import Any

from automodel_launch.suggest import nearest

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "list": "a list",
    "map": "a mapping",
    "null": "null",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "list": (list, tuple),
    "map": (dict,),
    "null": (type(None),),
}
_SPECIAL = {"none": None, "None": None, "true": True, "True": True, "false": False, "False": False}


def fits(value: Any, kind: str, strict: bool = False) -> bool:
    """Whether AutoModel accepts the value; yes for a reference that only the job resolves and for a `_target_`.

    `strict` is how transformers' configs compare: a float may not be written as an integer.
    """
    if not kind or (isinstance(value, str) and "${" in value) or (isinstance(value, dict) and "_target_" in value):
        return True
    seen, parts = as_read(value), kind.split("|")
    if strict and isinstance(seen, int) and "int" not in parts:
        return isinstance(seen, bool) and "bool" in parts  # neither a float nor, as 0 or 1, true or false
    return any(_one(seen, part) or _one(value, part) for part in parts)


def as_read(value: Any) -> Any:
    """The value as AutoModel's loader gives it."""
    if not isinstance(value, str):
        return value
    if value in _SPECIAL:
        return _SPECIAL[value]
    try:
        return ast.literal_eval(value) if len(value) <= 1000 else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _one(value: Any, part: str) -> bool:
    if part.startswith("'"):
        return isinstance(value, str) and value == part[1:-1]
    if part not in _TYPES:  # a literal that is not a string
        return str(value) == part
    if isinstance(value, bool) and part != "bool":
        return False
    if part == "bool" and isinstance(value, int):  # 0 and 1 are as good
        return value in (0, 1)
    return isinstance(value, _TYPES[part])


def literals(kind: str) -> list[str]:
    """The strings that a kind lists."""
    return [part[1:-1] for part in kind.split("|") if part.startswith("'")]


def words(kind: str, strict: bool = False) -> str:
    """A kind in words: `an integer or null`; with `strict`, as in `fits`."""
    parts, known = kind.split("|"), _WORDS
    if "float" in parts and "int" in parts:
        parts.remove("int")
    elif strict:
        known = {**_WORDS, "float": "a number with a decimal point"}
    return " or ".join(sorted((known.get(part, part) for part in parts), key=lambda word: word == "null"))


def example(key: str, value: Any, kind: str) -> str:
    """An override that fixes a value that does not fit."""
    near = nearest(str(value), literals(kind))
    if near or literals(kind):
        return f"{key}={near or literals(kind)[0]}"
    shown = {"int": "NUMBER", "float": "NUMBER", "bool": "true", "str": "STRING", "list": "[...]", "map": "{...}"}
    if isinstance(value, float) and value.is_integer() and "int" in kind.split("|"):
        return f"{key}={int(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and "float" in kind.split("|"):
        return f"{key}={float(value)}"
    first = next((shown[part] for part in ("int", "float", "bool", "str", "list", "map") if part in kind), "null")
    return f"{key}={first}" + (f", or ~{key} to leave it out" if "null" in kind.split("|") else "")
