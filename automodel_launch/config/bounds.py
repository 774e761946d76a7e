"""How much a config may hold. A few lines of YAML can stand for more than fits into memory: by aliases of aliases, by
references to references, or by nesting that the readers of the standard library end at, with a traceback or a crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from automodel_launch.errors import ConfigError

LARGEST = 4 << 20  # bytes of a file; a config that a person writes has a few thousand
DEEPEST = 40  # mappings and lists inside each other; OmegaConf ends at about 100
MOST = 20_000  # values; OmegaConf takes a quarter of a millisecond for each
LONGEST = 4 << 20  # characters of all strings once their references are resolved
MOST_REFERENCES = 500  # in one string; OmegaConf parses each in a millisecond
_LISTS = "a long list belongs into a file of its own, which the config names"
_OPENING = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CLOSING = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_REFERENCE = re.compile(r"\$\{\s*(\.*)([^\s${}:,]+)\s*\}")


def check_size(size: int, where: str) -> None:
    """The bytes or characters of a text.

    Raises:
        ConfigError: more than a config may hold.
    """
    if size > LARGEST:
        most = f"a config has {LARGEST / 1e6:,.1f} MB at most, since every command reads the whole of it"
        raise ConfigError(f"{where}: {size / 1e6:,.1f} MB; {most}.", _LISTS)


def check_text(text: str, where: str, loader: type[Any]) -> None:
    """Before anything is made of the text: its size and its depth. libyaml's own composer crashes at some depths.

    Raises:
        ConfigError: there is more than a config may hold.
        yaml.YAMLError: it is not YAML.
    """
    check_size(len(text), where)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, _OPENING):
            depth += 1
            if depth > DEEPEST:
                raise too_deep(f"{where}:{event.start_mark.line + 1}" if event.start_mark else where)
        elif isinstance(event, _CLOSING):
            depth -= 1


def too_deep(where: str) -> ConfigError:
    """The error about mappings and lists inside each other."""
    return ConfigError(f"{where}: mappings and lists are nested too deeply to be read: {DEEPEST} levels at most.")


def check_nodes(root: yaml.Node, where: str) -> None:
    """The values that there are once each alias stands for all that it names.

    Raises:
        ConfigError: more than a config may hold, or an alias inside what it names.
    """
    known: dict[int, int] = {}

    def count(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise ConfigError(f"{where}:{node.start_mark.line + 1}: what `&` names here contains itself (`*`).")
        if id(node) not in known:
            inside = above if isinstance(node, yaml.ScalarNode) else (*above, id(node))
            known[id(node)] = min(1 + sum(count(part, inside) for part in _parts(node)), MOST + 1)
        if len(above) > DEEPEST:
            raise too_deep(f"{where}:{node.start_mark.line + 1}")
        if known[id(node)] > MOST:
            raise _too_many(f"{where}:{node.start_mark.line + 1}")
        return known[id(node)]

    count(root, ())


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _too_many(place: str) -> ConfigError:
    return ConfigError(f"{place}: more than {MOST:,} values, with those that aliases (`*`) repeat.", _LISTS)


def check_references(data: Mapping[str, Any], where: str) -> None:
    """The text that there is once each `${key}` stands for all that it names, as far as that can be told beforehand.

    Raises:
        ConfigError: more than a config may hold. Circles are OmegaConf's to tell.
    """
    _Expansion(data, where).weigh((), data, ())


class _Expansion:
    """Characters and values behind each key, those that its references name with it."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data, self.where = data, where
        self.known: dict[tuple[str, ...], int] = {}

    def weigh(self, key: tuple[str, ...], value: Any, above: tuple[tuple[str, ...], ...]) -> int:
        """The weight of a value; `above` are the keys that are being weighed."""
        if key in self.known or key in above:
            return self.known.get(key, 0)
        if len(above) > 4 * DEEPEST:
            raise ConfigError(f"{self.where}: {'.'.join(key)}: references name each other more than {DEEPEST} deep.")
        above = (*above, key)
        if isinstance(value, Mapping):
            weight = sum(1 + self.weigh((*key, str(name)), entry, above) for name, entry in value.items())
        elif isinstance(value, list):
            weight = sum(1 + self.weigh((*key, str(number)), entry, above) for number, entry in enumerate(value))
        elif isinstance(value, str) and "${" in value:
            weight = self._text(key, value, above)
        else:
            weight = len(value) if isinstance(value, str) else 0
        if weight > LONGEST:
            place = f"{'.'.join(key)}: its" if key else "its"
            raise ConfigError(
                f"{self.where}: {place} references stand for more than {LONGEST / 1e6:,.1f} MB of text.",
                "each ${key} repeats all that it names: name a file instead, or write the value out once",
            )
        self.known[key] = weight
        return weight

    def _text(self, key: tuple[str, ...], text: str, above: tuple[tuple[str, ...], ...]) -> int:
        count = text.count("${")
        if count > MOST_REFERENCES:
            raise ConfigError(
                f"{self.where}: {'.'.join(key)}: {count:,} references in one string; {MOST_REFERENCES} at most."
            )
        return len(text) + sum(
            self._named(self._target(key, dots, name), above) for dots, name in _REFERENCE.findall(text)
        )

    @staticmethod
    def _target(key: tuple[str, ...], dots: str, name: str) -> tuple[str, ...]:
        parts = tuple(part for part in re.split(r"[.\[\]]+", name) if part)
        return (*key[: len(key) - len(dots)], *parts) if dots else parts

    def _named(self, key: tuple[str, ...], above: tuple[tuple[str, ...], ...]) -> int:
        node: Any = self.data
        for part in key:
            if isinstance(node, list):
                node = node[int(part)] if part.isascii() and part.isdecimal() and int(part) < len(node) else None
            else:
                node = node.get(part) if isinstance(node, Mapping) else None
        return self.weigh(key, node, above)
