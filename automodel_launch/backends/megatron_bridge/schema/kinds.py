"""Does a value of a config fit a kind of the schema.

A kind is alternatives joined by `|`: int, float, bool, str, list, map, null, dtype, a literal, in quotes where it is a
string, or `@CLASS`, a section of its own; empty where any value may do. Values are taken as YAML gives them, but for a
number in a string where a number is wanted: YAML 1.1 takes 3e-4 for a string, and recipes/bridge_lib converts it.
"""

from __future__ import annotations

import re
from typing import Any

from automodel_launch.suggest import nearest

_WORDS = {
    **{"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string", "list": "a list"},
    **{"map": "a mapping", "null": "null", "dtype": "a dtype of torch"},
}
_TYPES: dict[str, tuple[type, ...]] = {
    **{"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "list": (list, tuple), "map": (dict,)},
    "null": (type(None),),
}
_EXAMPLES = {
    **{"int": "NUMBER", "float": "NUMBER", "bool": "true", "str": "STRING", "list": "[...]", "map": "{...}"},
    "dtype": "bfloat16",
}
_SHORT = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
DTYPES = (
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e5m2",
    "uint8",
    "int8",
    "int32",
    "int64",
)


def fits(value: Any, kind: str) -> bool:
    """Whether a field of that kind may have the value; yes for a reference that only the job resolves."""
    if not kind or (isinstance(value, str) and "${" in value) or (isinstance(value, dict) and "_target_" in value):
        return True
    return any(_one(value, part) for part in kind.split("|"))


def is_plain(kind: str) -> bool:
    """Numbers, true or false only, without names that it may be."""
    return set(kind.split("|")) <= {"bool", "float", "int", "null"}


def _one(value: Any, part: str) -> bool:
    if part.startswith("'"):
        return isinstance(value, str) and value == part[1:-1]
    if part.startswith("@"):
        return isinstance(value, dict)
    if part == "dtype":
        return isinstance(value, str) and dtype(value) in DTYPES
    if part not in _TYPES:  # a literal that is no string, or a name that the annotation alone knows
        return str(value) == part or not re.fullmatch(r"-?\d+(\.\d+)?", part)
    if isinstance(value, bool) and part != "bool":
        return False
    return isinstance(value, _TYPES[part]) or (part == "float" and _number(value))


def _number(value: Any) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def dtype(value: str) -> str:
    """A dtype's name as torch has it."""
    bare = value.removeprefix("torch.")
    return _SHORT.get(bare, bare)


def literals(kind: str) -> list[str]:
    """The strings that a kind lists."""
    return [part[1:-1] for part in kind.split("|") if part.startswith("'")]


def words(kind: str) -> str:
    """A kind in words: `an integer or null`."""
    parts = [_WORDS.get(part, "a mapping" if part.startswith("@") else part) for part in kind.split("|")]
    if "float" in kind.split("|") and "int" in kind.split("|"):
        parts.remove(_WORDS["int"])
    return " or ".join(sorted(dict.fromkeys(parts), key=lambda word: word == "null"))


def example(key: str, value: Any, kind: str) -> str:
    """An override that fixes a value that does not fit."""
    parts = kind.split("|")
    if isinstance(value, str) and "bool" in parts:
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        if meant:
            return f"{key}={meant}"
    if isinstance(value, float) and "int" in parts:
        return f"{key}={round(value) or 1}" if abs(value) < 2**63 else f"{key}=NUMBER"
    near = nearest(str(value), [*literals(kind), *(DTYPES if "dtype" in parts else ())])
    shown = near or next((_EXAMPLES[part] for part in _EXAMPLES if part in parts), "null")
    return f"{key}={shown}" + (f", or ~{key} to leave it to the recipe" if "null" in parts else "")
