"""Nested mappings by their dotted keys (`optimizer.lr`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def get(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, or None."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def has(config: Mapping[str, Any], key: str) -> bool:
    """Whether a dotted key is there, also with the value null."""
    parent, _, leaf = key.rpartition(".")
    section = get(config, parent) if parent else config
    return isinstance(section, Mapping) and leaf in section


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything that is neither mapping nor list; entries of lists by their number."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from leaves(value, f"{key}.{number}")
    else:
        yield key, node


def with_text(node: Any, texts: Mapping[str, str]) -> Any:
    """A copy in which each of these texts, wherever it stands in a string, is its value."""
    if isinstance(node, Mapping):
        return {key: with_text(value, texts) for key, value in node.items()}
    if isinstance(node, list):
        return [with_text(value, texts) for value in node]
    if isinstance(node, str):
        for text, value in texts.items():
            node = node.replace(text, value)
    return node


def left_to_the_job(value: Any) -> bool:
    """The value refers to a variable that only the job has, and is resolved there; no check judges it."""
    return "${oc.env:" in str(value)


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as (dotted key, value); a list or an empty mapping is a leaf."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def all_keys(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every dotted key: those of the leaves, and those of the mappings above them, also of mappings in lists."""
    keys = []
    for key, value in data.items():
        keys.append(f"{prefix}{key}")
        inner = dict(enumerate(value)) if isinstance(value, list) else {"": value}
        for number, entry in inner.items():
            if isinstance(entry, Mapping):
                keys.extend(all_keys(entry, f"{prefix}{key}.{number}." if number != "" else f"{prefix}{key}."))
    return keys
