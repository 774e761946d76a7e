"""YAML as AutoModel's users write it: `1e-4` is a number, `04:00:00` a text, a key given twice an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from automodel_launch.errors import ConfigError

_DROPPED = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$""",
    re.X,
)


class _Loader(yaml.SafeLoader):
    """PyYAML without dates and base-60 numbers (`time: 04:00:00`), and with `1e-4` as a float (YAML 1.2)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


@dataclass(frozen=True)
class Document:
    """A YAML mapping and, for each dotted key of it, the line it stands on (from 1)."""

    data: dict[str, Any]
    lines: dict[str, int]


def read(path: Path) -> Document:
    """Read a file whose top is a mapping.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: a config is a mapping (`key: value` lines), this is none.")
        lines: dict[str, int] = {}
        _walk(node, "", lines, path)
        return Document(loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    finally:
        loader.dispose()


def value(text: str) -> Any:
    """The value of an override, read as YAML.

    Raises:
        ConfigError: it is not YAML.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"the value {text!r} is not YAML.", "quote it: key='\"value\"'") from error
    finally:
        loader.dispose()


def dump(data: Any) -> str:
    """YAML text that PyYAML's safe loader, and so AutoModel, reads back as exactly `data`; keys keep their order."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=2**20)


def _walk(node: yaml.MappingNode, prefix: str, lines: dict[str, int], path: Path) -> None:
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`
            continue
        key = f"{prefix}{key_node.value}"
        line = key_node.start_mark.line + 1
        if key in lines:
            raise ConfigError(f"{path}:{line}: the key '{key}' stands here and on line {lines[key]}.", "remove one")
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            _walk(value_node, f"{key}.", lines, path)
