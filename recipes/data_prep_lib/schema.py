"""Closed mappings: an unknown key is refused with the nearest known one, a wrong type with what is valid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from data_prep_lib.errors import ConfigError, NoHomeError

Check = Callable[[str, Any], Any]


def bad(key: str, value: Any, valid: str) -> ConfigError:
    return ConfigError(f"{key}: {value!r} is not valid\n  valid: {valid}")


def closed(where: str, value: Any, checks: Mapping[str, Check], required: Sequence[str] = ()) -> dict[str, Any]:
    """Check each key of a mapping with its function. `where` is the key that holds the mapping, "" at the top."""
    if not isinstance(value, dict):
        raise bad(where or "configuration", value, "a mapping of keys to values")
    dot = f"{where}." if where else ""
    for key in value:
        if key not in checks:
            raise ConfigError(f"{dot}{key}: unknown key{nearest(str(key), checks)}\n  valid: {', '.join(checks)}")
    for key in required:
        if value.get(key) is None:
            raise ConfigError(f"{dot}{key}: missing; set it in the configuration or on the command line")
    return {key: checks[key](dot + key, item) for key, item in value.items()}


def nearest(key: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, where one of them is near."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def optional(check: Check) -> Check:
    return lambda key, value: None if value is None else check(key, value)


def text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad(key, value, "a string that is not empty")
    return value


def path(key: str, value: Any) -> Path:
    """`~` is the home directory; what is relative lies below the working directory."""
    try:
        return Path(text(key, value)).expanduser().absolute()
    except RuntimeError:
        name = value.partition("/")[0]
        raise NoHomeError(f"{key}: {value}: {name} is no home directory here\n  write the path out, from /") from None


def boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise bad(key, value, "true or false")
    return value


def count(key: str, value: Any) -> int:
    # bool is an int in Python, and `workers: true` is a typo
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 63:
        raise bad(key, value, "a whole number, 1 or more")
    return value


def amount(key: str, value: Any) -> int:
    """A whole number, also as `500M`: K, M, B (or G) and T are powers of 1000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMBGT])B?", value.strip(), re.I) if isinstance(value, str) else None
    if match:
        number = Decimal(match[1]) * 1000 ** (" KMBT".index(match[2].upper().replace("G", "B")))
        value = int(number) if number == int(number) else value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 63:
        raise bad(key, value, "a whole number, 1 or more, or one such as 500M, 2B or 1.5T")
    return value


def weight(key: str, value: Any) -> float:
    # beyond these a sum of weights times tokens overflows, or is 0 beside the others
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1e-18 <= value <= 1e18:
        raise bad(key, value, "a number above 0, from 1e-18 to 1e18")
    return float(value)


def share(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise bad(key, value, "a share from 0 to 1")
    return float(value)


def one_of(*names: str) -> Check:
    def check(key: str, value: Any) -> str:
        if value not in names:
            raise bad(key, value, " | ".join(names))
        return str(value)

    return check
