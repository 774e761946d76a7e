"""pydantic's validation errors in env.toml's terms: what was expected, and the same value in the right form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from automodel_launch.errors import ProfileError
from automodel_launch.profile.keys import PYTHON, STALL
from automodel_launch.suggest import did_you_mean, nearest

_STRING, _STRINGS, _INTEGER = "a string", "a list of strings", "an integer"


def refusal(
    error: ValidationError, values: Mapping[str, Any], where: Callable[[str], str], known: tuple[str, ...]
) -> ProfileError:
    """The error about the first wrong key; `where(key)` tells where it was set, `known` are the keys that are valid."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _unknown(key, where(key), known)
    place, value = where(key), values.get(key)
    if isinstance(value, dict) and len(first["loc"]) > 1:  # one variable of a table, and not the values of the others
        place, value = f"{place}: {first['loc'][1]}", value.get(first["loc"][1])
    kinds = sorted({_expected(e) for e in error.errors() if e["loc"][0] == key})
    message = f"{place} = {value!r} is not valid: expected {' or '.join(kinds)}."
    return ProfileError(message, _example(key, value, kinds))


def _unknown(key: str, where: str, known: tuple[str, ...]) -> ProfileError:
    if key in known:  # `extends` in a config or an override
        return ProfileError(f"{where}: belongs in env.toml only.", "--run NAME or --batch NAME chooses a profile")
    near = nearest(key, known)
    hint = f"write {near} = ..." if near else f"known keys: {', '.join(known)}"
    return ProfileError(f"{where}: unknown key.{did_you_mean(key, known)}", hint)


def _example(key: str, value: Any, kinds: list[str]) -> str | None:
    """The same value in the form that the key wants, where that can be told."""
    if key == "time":  # a bare number would be minutes for Slurm, and hours for most people
        return 'time = "04:00:00", which is hours:minutes:seconds'
    if kinds == [_STRING] and isinstance(value, int | float) and not isinstance(value, bool):
        return f'{key} = "{value}"'
    if kinds == [_STRINGS] and isinstance(value, str):
        return f'{key} = ["{value}"]'
    if kinds == [_INTEGER] and isinstance(value, str) and value.isdigit():
        return f"{key} = {value}"
    return None


_PATTERNS = {
    STALL: 'a time such as "90s", "15m" or "1h", or "off"',
    PYTHON: "a path or name of letters, digits and _ . / @ + = -",
}


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    names = {
        "int_type": _INTEGER,
        "string_type": _STRING,
        "bool_type": "true or false",
        "tuple_type": _STRINGS,
        "dict_type": "a table",
        "float_type": "a number",
        "string_too_short": "a string that is not empty",
        "greater_than": f"a number above {context.get('gt')}",
        "greater_than_equal": f"a number of at least {context.get('ge')}",
        "less_than_equal": f"a number of at most {context.get('le')}",
        "string_pattern_mismatch": _PATTERNS.get(str(context.get("pattern")), str(error["msg"])),
        "literal_error": str(context.get("expected")),
    }
    return names.get(error["type"], error["msg"])
