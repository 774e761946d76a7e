"""pydantic's validation errors in env.toml's terms: what was expected, and the same value in the right form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from automodel_launch.errors import ProfileError
from automodel_launch.profile import hidden, sbatch_options
from automodel_launch.profile.keys import HOST, NOTIFY, PYTHON, STALL, TRACK
from automodel_launch.suggest import did_you_mean, nearest

_PLAIN = re.compile(r"[a-z]{1,16}")  # of an entry of `notify`: with no secret in it
_STRING, _STRINGS, _INTEGER = "a string", "a list of strings", "an integer"


def refusal(
    error: ValidationError, values: Mapping[str, Any], where: Callable[[str], str], known: tuple[str, ...]
) -> ProfileError:
    """The error about the first wrong key; `where(key)` tells where it was set, `known` are the keys that are valid."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _unknown(key, where(key), known)
    place, value, shown = where(key), values.get(key), key
    wrong = [e for e in error.errors() if e["loc"][0] == key and isinstance(e["loc"][-1], int)]
    if isinstance(value, list | tuple) and wrong:
        kinds = sorted(set(map(_expected, wrong)))
        entries = _entries(key, value, [e["loc"][-1] for e in wrong])
        return ProfileError(f"{place}: {entries} not valid: expected {' or '.join(kinds)}.")
    if isinstance(value, dict) and len(first["loc"]) > 1:  # one variable of a table, and not the values of the others
        name = first["loc"][1]
        shown = f"{key}.{name}"
        place, value = f"{place}: {name}", hidden.value(shown, value.get(name))
    else:
        value = hidden.HIDDEN if key == "notify" else hidden.value(key, value)  # it may be the URL of a hook
    kinds = sorted({_expected(e) for e in error.errors() if e["loc"][0] == key})
    message = f"{place} = {value!r} is not valid: expected {' or '.join(kinds)}."
    return ProfileError(message, _example(shown, value, kinds))


def _entries(key: str, value: Sequence[Any], numbers: Sequence[Any]) -> str:
    """Those of a list, counted from 1, that are wrong: `entry 2 = 'x' is`. What may be a hook's URL is not shown."""
    told = []
    for number in dict.fromkeys(numbers):
        entry = hidden.value(key, value[number])
        is_shown = key != "notify" or _PLAIN.fullmatch(str(entry))
        told.append(f"entry {number + 1}" + (f" = {entry!r}" if is_shown else ""))
    return f"{', '.join(told)} {'is' if len(told) == 1 else 'are'}"


def _unknown(key: str, where: str, known: tuple[str, ...]) -> ProfileError:
    option = key.replace("_", "-")
    if key in known:  # `extends` in a config or an override
        return ProfileError(f"{where}: belongs in env.toml only.", "--run NAME or --batch NAME chooses a profile")
    if option in sbatch_options.KNOWN and option.replace("-", "_") not in known:
        value = "true" if option in sbatch_options.FLAGS else "..."
        hint = f'sbatch\'s --{option}: additional_parameters = {{"{option}" = {value}}}'
        return ProfileError(f"{where}: unknown key.", hint)
    near = nearest(key, known)
    hint = f"write {near} = ..." if near else f"known keys: {', '.join(known)}"
    return ProfileError(f"{where}: unknown key.{did_you_mean(key, known)}", hint)


def _example(key: str, value: Any, kinds: list[str]) -> str | None:
    """The same value in the form that the key wants, where that can be told."""
    if key in ("time", "build_time"):
        minutes = f'{key} = "{value}" is in minutes; ' if type(value) is int and value > 0 else ""
        return f'{minutes}{key} = "04:00:00" is hours:minutes:seconds'
    if key == "host" and isinstance(value, str):
        name, mark, port = value.rpartition(":")
        if mark and port.isdigit():
            return f'host = "ssh://{value}", or "{name}" with Port {port} below its Host in ~/.ssh/config'
        return 'host = "login.example.org"; options of ssh belong to ~/.ssh/config'
    if kinds == [_STRING] and isinstance(value, int | float) and not isinstance(value, bool):
        return f'{key} = "{value}"'
    if kinds == [_STRINGS] and isinstance(value, str):
        return f'{key} = ["{value}"]'
    if kinds == [_INTEGER] and isinstance(value, str) and value.isdigit():
        return f"{key} = {value}"
    return None


_PATTERNS = {
    STALL: 'a time such as "90s", "15m" or "1h", or "off"',
    HOST: "the name of a host, or an alias of ~/.ssh/config, without a port or blanks",
    NOTIFY: "mail:ADDRESS, https://HOOK, env:NAME or slack:env:NAME, where NAME is a secret that holds a URL",
    TRACK: "wandb:PROJECT, mlflow:EXPERIMENT or tensorboard",
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
