"""Nested mappings by their dotted keys (`optimizer.lr`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as (dotted key, value); a list or an empty mapping is a leaf."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def all_keys(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every dotted key: those of the leaves, and those of the mappings above them."""
    keys = []
    for key, value in data.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys.extend(all_keys(value, f"{prefix}{key}."))
    return keys
