"""YAML as AutoModel's users write it: `1e-4` is a number, `04:00:00` a string, a key given twice an error."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from automodel_launch.config import bounds
from automodel_launch.config.loaders import LOADERS, Loader, composed
from automodel_launch.errors import ConfigError
from automodel_launch.frozen import thaw

# beside YAML's own: `!!int x`, `0x_`; `!!timestamp x`; `!!int ""`, `!!bool x`
_BAD_VALUE = (yaml.YAMLError, ValueError, AttributeError, LookupError)
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_LAUNCHERS = "run"  # the section whose keys are names at every depth, as those at the top are
_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-7]")  # to YAML 1.1, and so to AutoModel: 0100 is 64


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
    text = _text(path)
    try:
        loader, node = composed(text, str(path))
        if node is None or (node.tag == "tag:yaml.org,2002:null" and not node.value):
            return Document({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: a config is a mapping (`key: value` lines), and the file does not contain one.")
        lines: dict[str, int] = {}
        _walk(node, "", lines, path)
        _refuse_octal(node, str(path))
        data = loader.construct_document(node)
        _refuse_odd_keys(node, "", path)  # now, when what `<<` brings is in the nodes
        return Document(data, lines)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(path, error) from error
    except _BAD_VALUE as error:
        told = error if not isinstance(error, LookupError) else "a value is none of the type that its tag (`!!`) says"
        raise ConfigError(f"{path}: not YAML: {told}.") from error


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > 2 * bounds.LARGEST:  # before it is read
            bounds.check_size(size, str(path))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _not_yaml(path: Path, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    if error.problem == "found unhashable key":
        return ConfigError(
            f"{where}: a list or mapping stands where a key belongs.", "a key is a name; quote it if not"
        )
    return ConfigError(f"{where}: not YAML: {error.problem or error.context}")


def value(text: str, octal: bool = False) -> Any:
    """The value of an override, read as YAML; a number with a leading zero is a string with `octal`.

    YAML has no comments here: `fix #12` is a string, whole.

    Raises:
        ConfigError: it is not YAML, or has a number with a leading zero, or a ` #` in a list or mapping.
    """
    try:
        with contextlib.suppress(yaml.YAMLError):
            bounds.check_text(text, "the value", LOADERS[0])  # PyYAML's scanner takes minutes for what is nested deeply
        if _has_comment(text):
            if text.lstrip()[0] in "[{":
                what = "' #' outside of quotes, where YAML would end"
                raise ConfigError(f"the value {text!r} is not YAML: it has {what}.", "quote the entry: ['a #b']")
            return text.strip()
        loader, node = composed(text, "the value")
        if node is None:
            return None
        if not octal:
            _refuse_octal(node)
        return loader.construct_document(node)
    except _BAD_VALUE as error:
        raise ConfigError(f"the value {text!r} is not YAML.", "quote it: key='\"value\"'") from error


def dump(data: Any) -> str:
    """YAML text that PyYAML's safe loader, and so AutoModel, reads back as exactly `data`; keys keep their order."""
    data = thaw(data)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=2**20)
    # PyYAML writes U+0085 as it is and reads it back as a space
    return text if "\x85" not in text else yaml.safe_dump(data, sort_keys=False, width=2**20)


def json_value(data: Any, *, strict: bool = True) -> Any:
    """`data` as strict JSON has it: keys and whatever JSON lacks (bytes, .inf, .nan) as strings.

    `strict` is false for a reader that is Python's: then .inf and .nan stay numbers.
    """
    if isinstance(data, dict):
        return {str(key): json_value(entry, strict=strict) for key, entry in data.items()}
    if isinstance(data, list):
        return [json_value(entry, strict=strict) for entry in data]
    number = isinstance(data, float) and (math.isfinite(data) or not strict)
    fits = data is None or isinstance(data, (str, int)) or number
    return data if fits else str(data)


def _has_comment(text: str) -> bool:
    """Whether YAML would pass over a part of the text: a `#` that stands in no token."""
    end = 0
    for token in yaml.scan(text, Loader=Loader):
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
        elif isinstance(node, yaml.ScalarNode) and not node.style and _OCTAL.fullmatch(node.value):
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


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int], path: Path) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            _walk(entry, f"{prefix}{number}.", lines, path)
    elif isinstance(node, yaml.MappingNode):
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:  # `<<: *anchor`
                for entry in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    _walk(entry, prefix, lines, path)
                continue
            key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
            if key in own:
                raise ConfigError(f"{path}:{line}: the key '{key}' is here and on line {own[key]}.", "remove one")
            own[key] = line
            _walk(value_node, f"{key}.", lines, path)
        lines.update(own)
