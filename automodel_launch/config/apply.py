"""Overrides -> changes of a MergedConfig; an override keeps the kind of the value that it replaces."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from automodel_launch.config import yamlio
from automodel_launch.config.dotted import flatten
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.config.unknown import unknown_key, unknown_option
from automodel_launch.errors import ConfigError

RUN_KEYS = ("env", "wandb", "data", "data_changed", "job_env")
_MOST_KEYS, _SHORT = 6, 100
_KINDS = {bool: "true or false", int: "an integer", float: "a number", list: "a list", dict: "a mapping"}


def apply(merged: MergedConfig, override: Override, options: Iterable[str]) -> None:
    """Change `merged` as the override says; `options` are the launcher's own, for suggestions.

    Raises:
        ConfigError, UsageError: the override does not fit the config.
    """
    if override.dashed and "=" not in override.text:
        raise unknown_option(merged, override, options)
    if override.key.startswith("run.env."):
        _apply_to_profile(merged, override)
        return
    *parents, leaf = override.key.split(".")
    if override.key == "run" or (parents[:1] == ["run"] and ([*parents, leaf][1]) not in RUN_KEYS):
        raise ConfigError(
            f"override {override.text}: '{override.key}' is not set this way.",
            "run.env.KEY=value sets a key of the profile; --name gives the run's name",
        )
    node, outer = _holder(merged, override, parents, options)
    slot = _slot(override, node, parents, leaf)
    present = slot in node if isinstance(node, dict) else slot < len(node)
    may_be_new = override.action == "add" or (override.action == "set" and _is_optional(merged, override))
    if not present and not may_be_new:
        raise unknown_key(merged, override, options)
    if override.action == "remove":
        del node[slot]
    else:
        value = _fitting(merged, override, node[slot] if present else None)
        if isinstance(node, list):
            node[slot : slot + 1] = [value]
        else:
            node[slot] = value
    _record(merged, override, node, outer)


def meant(merged: MergedConfig, override: Override, short: Mapping[str, str]) -> Override:
    """`key=STRING` where the config has a mapping at `key`, and the recipe says for which of its keys that stands."""
    whole = isinstance(override.value, str) and isinstance(merged.data.get(override.key), dict)
    return (
        replace(override, key=f"{override.key}.{short[override.key]}") if whole and override.key in short else override
    )


def _holder(
    merged: MergedConfig, override: Override, parents: list[str], options: Iterable[str]
) -> tuple[Any, str | None]:
    """The mapping or list that holds the override's key, and the key of the outermost list on the way."""
    node: Any = merged.data
    outer: str | None = None
    for depth, part in enumerate(parents):
        slot = _slot(override, node, parents[:depth], part)
        if isinstance(node, dict) and node.get(part) is None:
            if override.action != "add" and not _is_optional(merged, override):
                raise unknown_key(merged, override, options)
            node[part] = {}
        elif isinstance(node, list) and slot == len(node):
            node.append({})
        node = node[slot]
        if not isinstance(node, dict | list):
            raise ConfigError(f"override {override.text}: '{part}' holds {node!r}, not a mapping, so it has no keys.")
        if isinstance(node, list) and outer is None:
            outer = ".".join(parents[: depth + 1])
    return node, outer


def _slot(override: Override, node: Any, above: list[str], part: str) -> Any:
    """A key of a mapping as it is; of a list, the number of an entry, which with `+` may be the next one."""
    if not isinstance(node, list):
        return part
    last = len(node) if override.action == "add" else len(node) - 1
    if not part.isdecimal() or int(part) > last:
        name, count = ".".join(above), len(node)
        raise ConfigError(
            f"override {override.text}: '{name}' is a list of {count}, and has no entry '{part}'.",
            f"{'its first entry is ' + name + '.0; ' if node else ''}+{name}.{count}=... adds one",
        )
    return int(part)


def _is_optional(merged: MergedConfig, override: Override) -> bool:
    return override.key in merged.optional


def _record(merged: MergedConfig, override: Override, node: Any, outer: str | None) -> None:
    """The sources after the change; a list has one, however deep inside it the change is."""
    source = f"override {override.text}"
    if outer is not None:
        merged.sources[outer] = f"{source}, over {merged.where(outer)}"
        return
    merged.forget(override.key)
    if override.action == "remove":
        merged.sources.pop(override.key, None)
        parent = override.key.rpartition(".")[0]
        if not node and parent:
            merged.sources[parent] = source
        return
    filled = isinstance(override.value, Mapping) and override.value
    keys = [f"{override.key}.{key}" for key, _ in flatten(override.value)] if filled else [override.key]
    merged.sources.update(dict.fromkeys(keys, source))


def _apply_to_profile(merged: MergedConfig, override: Override) -> None:
    from automodel_launch.profile import typed_text  # which loads pydantic

    key, text = override.key.removeprefix("run.env."), override.text.partition("=")[2]
    if override.action == "remove":
        raise ConfigError(f"override {override.text}: a key of the profile cannot be removed, only set.")
    table, _, name = key.partition(".")
    if not name:
        merged.profile_overrides[key] = typed_text.value(key, text, override.value)
        return
    if table not in ("env_vars", "additional_parameters"):  # run.env.env_vars.NAME=value
        raise ConfigError(f"override {override.text}: '{table}' is not a table of a profile, so it has no keys.")
    form = typed_text.parameter if table == "additional_parameters" else typed_text.as_text
    value = form(text, override.value)
    if not isinstance(merged.profile_overrides.setdefault(table, {}), dict):
        raise ConfigError(f"override {override.text}: another override sets {table} to what is not a table.")
    merged.profile_overrides[table] = {**merged.profile_overrides[table], name: value}


def _fitting(merged: MergedConfig, override: Override, old: Any) -> Any:
    """The new value, as a copy; for an integer, `1e3` is one.

    Raises:
        ConfigError: it is of another kind than the value that it replaces.
    """
    new = copy.deepcopy(override.value)
    if override.action == "add" or old is None or new is None or _is_reference(old) or _is_reference(new):
        return new
    kind = type(old)
    if kind in (int, float, bool) and isinstance(new, str):
        new = _unquoted(new)
    if kind is int and type(new) is float and new.is_integer():
        return int(new)
    fits = type(new) is kind or (kind is float and type(new) is int) or kind not in _KINDS
    if kind is list and isinstance(new, str):  # AutoModel takes a path or a list of paths
        fits = True
    if kind is str and isinstance(new, dict):  # `key=a: b` is a mapping in YAML, and was hardly meant as one
        raise ConfigError(f"override {override.text}: {override.key} is a string, and {new!r} a mapping.", "quote it")
    if not fits:
        where = merged.sources.get(override.key, merged.path.name)
        raise ConfigError(
            f"override {override.text}: {override.key} is {_KINDS[kind]} ({_shown(old)} in {where}), not {new!r}.",
            f"{_right(override.key, old, new)}, or +{override.key}=... to set it all the same",
        )
    return new


def _unquoted(text: str) -> Any:
    """The number or truth value that stands in quotes: a shell in a shell leaves them, and AutoModel looks inside."""
    with contextlib.suppress(ConfigError):
        inner = yamlio.value(text)
        return inner if isinstance(inner, bool | int | float) else text
    return text


def _shown(old: Any) -> str:
    """What is there now; of a mapping its keys, of a long list its length."""
    if isinstance(old, dict) and old:
        return f"with {', '.join(map(str, [*old][:_MOST_KEYS]))}{', ...' if len(old) > _MOST_KEYS else ''}"
    return f"of {len(old)} entries" if isinstance(old, list) and len(repr(old)) > _SHORT else repr(old)


def _right(key: str, old: Any, new: Any) -> str:
    """An override that fits."""
    if isinstance(old, dict) and old:
        inner = next((name for name in old if not str(name).startswith("_")), next(iter(old)))
        return f"{key}.{inner}=... sets one of its keys"
    if isinstance(old, list) and not isinstance(new, dict | list):
        return f"{key}=[{new}]"
    return f"{key}={_example(old, new)}"


def _example(old: Any, new: Any) -> Any:
    """A value of the old one's kind, the nearest to the new one."""
    if type(old) is int and type(new) is float and math.isfinite(new):
        inverse = 1 / new if 0 < abs(new) < 1 and old else 0.0  # 1e-3 for 1e3
        return round(new) or (round(inverse) if math.isclose(inverse, round(inverse)) and abs(inverse) < 1e15 else old)
    if type(old) in (int, float) and isinstance(new, str) and re.fullmatch(r"[-+]?\d+", new):
        return int(new)
    return json.dumps(old) if isinstance(old, bool) else repr(old)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value
