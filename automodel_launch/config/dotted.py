"""Dotted keys of a config: `a.b.c` is the key c of the mapping b of the mapping a."""

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


def left_to_the_job(value: Any) -> bool:
    """The value refers to a variable that only the job has, and is resolved there; no check judges it."""
    return "${oc.env:" in str(value)
