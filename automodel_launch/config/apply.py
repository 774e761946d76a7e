"""Overrides -> changes of a MergedConfig; an override keeps the kind of the value that it replaces."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from automodel_launch.config.dotted import flatten
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.config.unknown import unknown_key, unknown_option
from automodel_launch.errors import ConfigError

RUN_KEYS = ("env", "wandb", "data", "data_changed", "job_env")
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
    node = _node(merged, override, parents, options)
    if override.action == "remove":
        _remove(merged, override, node, parents, options)
        return
    if override.action == "set":
        if leaf not in node and override.key not in merged.optional:
            raise unknown_key(merged, override, options)
        _check_kind(merged, override, node.get(leaf))
    node[leaf] = copy.deepcopy(override.value)
    merged.forget(override.key)
    filled = isinstance(override.value, Mapping) and override.value
    keys = [f"{override.key}.{key}" for key, _ in flatten(override.value)] if filled else [override.key]
    merged.sources.update(dict.fromkeys(keys, f"override {override.text}"))


def _node(merged: MergedConfig, override: Override, parents: list[str], options: Iterable[str]) -> dict[str, Any]:
    """The mapping that holds the override's key."""
    node: Any = merged.data
    for part in parents:
        if part not in node or node[part] is None:
            if override.action != "add" and override.key not in merged.optional:
                raise unknown_key(merged, override, options)
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise ConfigError(f"override {override.text}: '{part}' holds {node!r}, not a mapping, so it has no keys.")
    return node  # type: ignore[no-any-return]  # checked in the loop


def _remove(
    merged: MergedConfig, override: Override, node: dict[str, Any], parents: list[str], options: Iterable[str]
) -> None:
    leaf = override.key.rpartition(".")[2]
    if leaf not in node:
        raise unknown_key(merged, override, options)
    del node[leaf]
    merged.forget(override.key)
    merged.sources.pop(override.key, None)
    if not node and parents:
        merged.sources[".".join(parents)] = f"override {override.text}"


def _apply_to_profile(merged: MergedConfig, override: Override) -> None:
    key = override.key.removeprefix("run.env.")
    if override.action == "remove":
        raise ConfigError(f"override {override.text}: a key of the profile cannot be removed, only set.")
    table, _, name = key.partition(".")
    if not name:
        merged.profile_overrides[key] = override.value
        return
    if table not in ("env_vars", "additional_parameters"):  # run.env.env_vars.NAME=value
        raise ConfigError(f"override {override.text}: '{table}' is not a table of a profile, so it has no keys.")
    value = override.value if table == "additional_parameters" else _string(override)
    if not isinstance(merged.profile_overrides.setdefault(table, {}), dict):
        raise ConfigError(f"override {override.text}: another override sets {table} to what is not a table.")
    merged.profile_overrides[table] = {**merged.profile_overrides[table], name: value}


def _string(override: Override) -> str:
    """The value of a variable: what was written, `010` and `1e-4` too; only quotes of YAML go."""
    return override.value if isinstance(override.value, str) else override.text.partition("=")[2]


def _check_kind(merged: MergedConfig, override: Override, old: Any) -> None:
    new = override.value
    if old is None or new is None or _is_reference(old) or _is_reference(new):
        return
    kind = type(old)
    fits = type(new) is kind or (kind is float and type(new) is int) or kind not in _KINDS
    if kind is list and isinstance(new, str):  # AutoModel takes a path or a list of paths
        fits = True
    if kind is str and isinstance(new, dict):  # `key=a: b` is a mapping in YAML, and was hardly meant as one
        raise ConfigError(f"override {override.text}: {override.key} is a string, and {new!r} a mapping.", "quote it")
    if not fits:
        where = merged.sources.get(override.key, merged.path.name)
        raise ConfigError(
            f"override {override.text}: {override.key} is {_KINDS[kind]} ({old!r} in {where}), not {new!r}.",
            f"{override.key}={old!r}, or +{override.key}=... to set it all the same",
        )


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value
