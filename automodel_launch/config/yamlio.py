"""YAML as AutoModel's users write it: `1e-4` is a number, `04:00:00` a string, a key given twice an error."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from automodel_launch.errors import ConfigError
from automodel_launch.frozen import thaw

_BAD_VALUE = (yaml.YAMLError, ValueError, AttributeError)  # the last two: `!!int x`, `0x_`, `!!timestamp x`
_DROPPED = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_LAUNCHERS = "run"  # the section whose keys are names at every depth, as those at the top are
_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-7]")  # to YAML 1.1, and so to AutoModel: 0100 is 64
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
    """A YAML mapping and, for each dotted key of it, its line number (from 1)."""

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
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ConfigError(f"{path}: not YAML: {error}") from error
    try:
        node = loader.get_single_node()
        if node is None or (node.tag == "tag:yaml.org,2002:null" and not node.value):
            return Document({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: a config is a mapping (`key: value` lines), and the file does not contain one.")
        lines: dict[str, int] = {}
        _walk(node, "", lines, path, ())
        _refuse_octal(node, str(path))
        data = loader.construct_document(node)
        _refuse_odd_keys(node, "", path)  # now, when what `<<` brings is in the nodes
        return Document(data, lines)
    except RecursionError:
        raise ConfigError(f"{path}: its mappings or lists are nested too deeply to be read.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from error
    except _BAD_VALUE as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    finally:
        loader.dispose()


def value(text: str, octal: bool = False) -> Any:
    """The value of an override, read as YAML; a number with a leading zero is a string with `octal`.

    YAML has no comments here: `fix #12` is a string, whole.

    Raises:
        ConfigError: it is not YAML, or has a number with a leading zero, or a ` #` in a list or mapping.
    """
    try:
        if _has_comment(text):
            if text.lstrip()[0] in "[{":
                what = "' #' outside of quotes, where YAML would end"
                raise ConfigError(f"the value {text!r} is not YAML: it has {what}.", "quote the entry: ['a #b']")
            return text.strip()
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if not octal:
                _refuse_octal(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _BAD_VALUE as error:
        raise ConfigError(f"the value {text!r} is not YAML.", "quote it: key='\"value\"'") from error


def dump(data: Any) -> str:
    """YAML text that PyYAML's safe loader, and so AutoModel, reads back as exactly `data`; keys keep their order."""
    data = thaw(data)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=2**20)
    # PyYAML writes U+0085 as it is and reads it back as a space
    return text if "\x85" not in text else yaml.safe_dump(data, sort_keys=False, width=2**20)


def json_value(data: Any) -> Any:
    """`data` as strict JSON has it: keys and whatever JSON lacks (bytes, .inf, .nan) as strings."""
    if isinstance(data, dict):
        return {str(key): json_value(entry) for key, entry in data.items()}
    if isinstance(data, list):
        return [json_value(entry) for entry in data]
    fits = data is None or isinstance(data, (str, int)) or (isinstance(data, float) and math.isfinite(data))
    return data if fits else str(data)


def _has_comment(text: str) -> bool:
    """Whether YAML would pass over a part of the text: a `#` that stands in no token."""
    end = 0
    for token in yaml.scan(text, Loader=_Loader):
        if "#" in text[end : token.start_mark.index]:
            return True
        end = token.end_mark.index
    return False


def _refuse_odd_keys(node: yaml.MappingNode, prefix: str, path: Path) -> None:
    """The keys `on` and `1` are no strings. Deeper in what a backend gets they may stand: that is its own to judge."""
    for key_node, value_node in node.value:
        if key_node.tag != _TEXT:
            place = f"{path}:{key_node.start_mark.line + 1}"
            kind = key_node.tag.rpartition(":")[2]
            raise ConfigError(
                f"{place}: the key {prefix}{key_node.value} is not a string: YAML reads it as {kind}.",
                f"quote it: '{key_node.value}': ...",
            )
        if isinstance(value_node, yaml.MappingNode) and (prefix or key_node.value == _LAUNCHERS):
            _refuse_odd_keys(value_node, f"{prefix}{key_node.value}.", path)


def _refuse_octal(root: yaml.Node, where: str | None = None) -> None:
    """Nobody means 64 by 0100, and 100 is not what AutoModel would read. `where` is the file, None for an override."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.ScalarNode) and node.style is None and _OCTAL.fullmatch(node.value):
            raise _octal(node.value, f"{where}:{node.start_mark.line + 1}: " if where else "")


def _octal(written: str, place: str) -> ConfigError:
    sign = "-" if written.startswith("-") else ""
    digits = written.lstrip("+-").replace("_", "")
    plain = f"{sign}{digits.lstrip('0') or '0'}"
    meant = f"{sign}{int(digits, 8)}"
    message = (
        f"{place}{written} begins with a zero: YAML 1.1, which AutoModel reads, has it for the octal number {meant}."
    )
    return ConfigError(message, f"{plain}, or '{written}' in quotes where a string is meant")


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int], path: Path, above: tuple[yaml.Node, ...]) -> None:
    if node in above:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: '{prefix[:-1]}' contains itself.")
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            _walk(entry, f"{prefix}{number}.", lines, path, (*above, node))
    elif isinstance(node, yaml.MappingNode):
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:  # `<<: *anchor`
                for entry in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    _walk(entry, prefix, lines, path, (*above, node))
                continue
            key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
            if key in own:
                raise ConfigError(f"{path}:{line}: the key '{key}' is here and on line {own[key]}.", "remove one")
            own[key] = line
            _walk(value_node, f"{key}.", lines, path, (*above, node))
        lines.update(own)
