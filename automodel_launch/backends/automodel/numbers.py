"""Numbers of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends.automodel import loader


class NotKnown(Exception):
    """The value is one that only the job has, or of a wrong type, which is another check's finding."""


def integer(config: Mapping[str, Any], key: str, default: int | None) -> int | None:
    """An integer, `default` where the key is missing or null.

    Raises:
        NotKnown: see there.
    """
    value = loader.value(config, key)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():  # 1e4; checks/keys.py says where that is refused
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotKnown
    return value


def number(config: Mapping[str, Any], key: str) -> float | None:
    """A number, None where the key is missing or null.

    Raises:
        NotKnown: see there.
    """
    value = loader.value(config, key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotKnown
    try:
        return float(value)
    except OverflowError:  # an integer of more than 300 digits, in quotes
        raise NotKnown from None
