"""What a sweep varies: `--sweep KEY=V1,V2` and the file of `--sweep-file` -> the overrides of each point.

A file is one YAML mapping of these sections; `grid`, `zip` and `list` multiply each other, `points` stands alone:

    grid:   {optimizer.lr: [1e-4, 3e-4], optimizer.weight_decay: [0, 0.1]}     # each with each
    zip:    {step_scheduler.global_batch_size: [32, 64], optimizer.lr: [1e-4, 2e-4]}  # in pairs
    list:   [{optimizer.lr: 1e-4}, {optimizer.lr: 3e-4, optimizer.weight_decay: 0.1}]   # each as it is
    points: {small: {optimizer.lr: 1e-4}, large: {optimizer.lr: 3e-4}}         # the same, with names
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.config import overrides, yamlio
from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.suggest import did_you_mean

MOST = 10_000
SECTIONS = ("grid", "zip", "list", "points")
_OPEN, _CLOSED = "[{(", "]})"
_EXAMPLE = "--sweep optimizer.lr=1e-4,3e-4"

Settings = dict[str, str]  # a key -> the override that sets it, `key=value`


@dataclass(frozen=True)
class PointSpec:
    """One point: what it sets, by key, and its name where the file gives one."""

    settings: Settings
    name: str | None = None


def points(swept: Sequence[str], file: str | None, fixed: Iterable[str] = ()) -> list[PointSpec]:
    """The points of a command line, in the order in which they were written: the last key varies fastest.

    `fixed` are the keys that the command line's own overrides set for all points.

    Raises:
        UsageError, ConfigError: a value, a key or the file is wrong; or there is no point, or more than 10,000.
    """
    return _points_of([_of_option(text) for text in swept], {} if file is None else _of_file(file), set(fixed))


def points_of(data: Mapping[str, Any], where: str, fixed: Iterable[str] = ()) -> list[PointSpec]:
    """The points of a mapping of sections, as a file holds them; `fixed`: see `points`.

    Raises:
        UsageError, ConfigError: it is none, with `where` it stands.
    """
    return _points_of([], _of_sections(data, where), set(fixed))


def _points_of(parts: list[list[Settings]], sections: dict[str, list[Any]], fixed: set[str]) -> list[PointSpec]:
    named = [spec for spec in sections.pop("points", []) if isinstance(spec, PointSpec)]
    if named and (parts or sections):
        raise UsageError("a file with `points:` names all points; nothing else can vary.", "move them to `grid:`")
    parts += [part for part in sections.values() if part]
    _refuse_twice(parts, named, fixed)
    count = len(named) or math.prod(map(len, parts))
    if count > MOST:
        raise UsageError(f"the sweep has {count:,} points; at most {MOST:,} are planned together.", "fewer values")
    return named or [PointSpec(_joined(row)) for row in itertools.product(*parts)]


def _joined(row: Iterable[Settings]) -> Settings:
    return {key: text for settings in row for key, text in settings.items()}


def _refuse_twice(parts: list[list[Settings]], named: list[PointSpec], fixed: set[str]) -> None:
    keys = [list(dict.fromkeys(key for settings in part for key in settings)) for part in parts]
    every = [key for part in keys for key in part]
    twice = [key for key in every if every.count(key) > 1]
    if twice:
        raise UsageError(f"'{twice[0]}' is swept twice.", f"one list of its values: --sweep {twice[0]}=V1,V2")
    for key in (*every, *(key for spec in named for key in spec.settings)):
        if key in fixed:
            raise UsageError(f"'{key}' is swept, and set for all points as well.", "leave one of the two out")


def _of_option(text: str) -> list[Settings]:
    key, equals, values = text.partition("=")
    if not equals:
        raise UsageError(f"--sweep {text}: expected KEY=VALUE,VALUE.", _EXAMPLE)
    parts = [part.strip() for part in split_values(values)]
    if not all(parts):
        raise UsageError(f"--sweep {text}: {'a value' if len(parts) > 1 else 'the list of values'} is empty.", _EXAMPLE)
    return [_setting(f"{key}={part}", f"--sweep {text}") for part in parts]


def split_values(text: str) -> list[str]:
    """The values between commas; those in quotes, brackets and braces belong to their value."""
    parts, depth, quote, start = [], 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (depth or not text[start:at].strip()):  # not in `it's`
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSED:
            depth = max(0, depth - 1)
        elif letter == "," and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _setting(text: str, where: str) -> Settings:
    found = overrides.parse(text)
    if found.action == "remove" or found.dashed:
        raise UsageError(f"{where}: a sweep gives a key several values.", _EXAMPLE)
    return {found.key: text}


def _of_file(name: str) -> dict[str, list[Any]]:
    path = Path(name).expanduser()
    if path.is_dir() or not path.exists():
        raise UsageError(f"--sweep-file {name}: {'is a directory' if path.is_dir() else 'there is no such file'}.")
    return _of_sections(yamlio.read(path).data, name)


def _of_sections(data: Mapping[str, Any], name: str) -> dict[str, list[Any]]:
    unknown = [key for key in data if key not in SECTIONS]
    if unknown:
        guess = did_you_mean(unknown[0], SECTIONS)
        raise ConfigError(f"{name}: unknown section '{unknown[0]}'.{guess}", f"sections: {', '.join(SECTIONS)}")
    read: dict[str, Callable[[Any, str], Iterator[Any]]] = {
        "grid": _grid,
        "zip": _zip,
        "list": _list,
        "points": _points,
    }
    found: dict[str, list[Any]] = {key: list(read[key](data[key], f"{name}: {key}")) for key in SECTIONS if key in data}
    if not any(found.values()):
        raise ConfigError(f"{name}: no point is given.", "grid: {optimizer.lr: [1e-4, 3e-4]}")
    if "grid" in found:  # several lists of its own, which multiply
        found["grid"] = [_joined(row) for row in itertools.product(*found["grid"])]
    return found


def _grid(section: Any, where: str) -> Iterator[list[Settings]]:
    for key, values in _lists(section, where).items():
        yield [_written(key, value, where) for value in values]


def _zip(section: Any, where: str) -> Iterator[Settings]:
    lists = _lists(section, where)
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise ConfigError(f"{where}: its lists have different lengths: {told}.", "one value of each for every point")
    for row in zip(*lists.values(), strict=True):
        yield _joined(_written(key, value, where) for key, value in zip(lists, row, strict=True))


def _list(section: Any, where: str) -> Iterator[Settings]:
    if not isinstance(section, list) or not section:
        raise ConfigError(f"{where} is a list of mappings, one a point.", "- {optimizer.lr: 1e-4}")
    for number, entry in enumerate(section, 1):
        yield _entry(entry, f"{where}, entry {number}")


def _points(section: Any, where: str) -> Iterator[PointSpec]:
    if not isinstance(section, dict) or not section:
        raise ConfigError(f"{where} is a mapping of names to what they set.", "points: {small: {optimizer.lr: 1e-4}}")
    for name, entry in section.items():
        if isinstance(name, bool) or name is None:  # YAML's `yes:` and `null:`
            raise ConfigError(f"{where}: {name!r} is no name of a point.", "write it in quotes, or another word")
        yield PointSpec(_entry(entry, f"{where}.{name}"), str(name))


def _entry(entry: Any, where: str) -> Settings:
    if not isinstance(entry, dict) or not entry:
        raise ConfigError(f"{where} is a mapping of keys to values, not {entry!r}.", "{optimizer.lr: 1e-4}")
    return _joined(_written(str(key), value, where) for key, value in entry.items())


def _lists(section: Any, where: str) -> Mapping[str, list[Any]]:
    if not isinstance(section, dict) or not section:
        raise ConfigError(f"{where} is a mapping of keys to lists of values.", "{optimizer.lr: [1e-4, 3e-4]}")
    for key, values in section.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}.{key} is a list of values, not {values!r}.", f"{key}: [1e-4, 3e-4]")
    return {str(key): values for key, values in section.items()}


def _written(key: str, value: Any, where: str) -> Settings:
    """A value of a file as an override: JSON is YAML, but for its names of infinity, and keeps strings apart from
    numbers."""
    odd = isinstance(value, float) and not math.isfinite(value)
    text = str(value).replace("inf", ".inf").replace("nan", ".nan") if odd else None
    try:
        return _setting(f"{key}={text or json.dumps(value, ensure_ascii=False, default=str)}", where)
    except UsageError as error:
        raise ConfigError(f"{where}: {error.message}", error.hint) from error
