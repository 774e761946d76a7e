"""Layers of a config -> MergedConfig, in which every leaf knows its source; resolved, it is a Config.

The result is what AutoModel gets: complete, resolved, without our own section `run`. What only the job can know stays
in it as `${oc.env:NAME}`, a form that AutoModel 0.7.0's loader resolves (components/config/loader.py,
resolve_yaml_env_vars).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automodel_launch.config import yamlio
from automodel_launch.config.artifacts import name_of
from automodel_launch.config.dotted import flatten, get
from automodel_launch.config.envscope import EnvScope
from automodel_launch.config.interpolation import interpolate
from automodel_launch.errors import ConfigError

_ARTIFACT = re.compile(r"\$\{art:\s*(\w+)\s*,")


@dataclass(frozen=True)
class Config:
    """A resolved training config: `data` is what travels, `sources` has an entry for each of its leaves."""

    data: dict[str, Any]
    sources: dict[str, str]
    deferred: tuple[str, ...]  # environment names that the job resolves


@dataclass
class MergedConfig:
    """A config of all its layers, before `${...}` is resolved."""

    name: str
    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()  # keys that the recipe knows and this config may lack
    profile_overrides: dict[str, Any] = field(default_factory=dict)  # run.env.KEY=value of the command line
    overridden: tuple[str, ...] = ()  # the command line's overrides of what is trained, as they were typed
    before: dict[str, Any] | None = None  # `data` without them; None where there are none

    def where(self, key: str) -> str:
        """The source of a dotted key: FILE:LINE or the override, else the config's file."""
        return self.sources.get(key, str(self.path))

    def add(self, document: yamlio.Document, file: str | Path) -> None:
        """Merge a stronger layer; `file` is how its values' source is shown."""
        _merge(self.data, document.data)
        above = {parent for key in self.sources for parent in _parents(key)}
        # an empty mapping over a filled one changes nothing
        new = [key for key, value in flatten(document.data) if value != {} or key not in above]
        self.forget(*new)
        self.sources.update({key: f"{file}:{document.lines.get(key, '?')}" for key in new})

    def forget(self, *keys: str) -> None:
        """Values at `keys` hide the sources below them and, where that was not a mapping before, the one above."""
        new, above = set(keys), {parent for key in keys for parent in _parents(key)}
        for old in [k for k in self.sources if k in above or any(parent in new for parent in _parents(k))]:
            del self.sources[old]

    @property
    def run(self) -> dict[str, Any]:
        """The launcher's own section, unresolved."""
        section = self.data.get("run") or {}
        if not isinstance(section, dict):
            raise ConfigError(f"{self.where('run')}: run: is a mapping, not {section!r}.")
        return section

    def section(self, key: str, kind: type, name: str) -> Any:
        """The value of `run.KEY`, empty where it is not given."""
        value = kind() if self.run.get(key) is None else self.run[key]
        if not isinstance(value, kind):
            raise ConfigError(f"{self.where(f'run.{key}')}: run.{key} is a {name}, not {value!r}.")
        return value

    @property
    def job_env(self) -> list[str]:
        """`run.job_env`: names of variables that only the job has."""
        names = self.section("job_env", list, "list of names")
        if not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{self.where('run.job_env')}: run.job_env is a list of names, not {names!r}.")
        return list(names)

    def run_env(self, scope: EnvScope) -> dict[str, Any]:
        """`run.env`: profile defaults of this config, resolved."""
        env = self.section("env", dict, "mapping")
        resolved: dict[str, Any] = interpolate(self, {"env": env, "run": {"env": env}}, scope)["env"]
        return resolved

    def without_overrides(self, run: Mapping[str, Any], scope: EnvScope) -> dict[str, Any] | None:
        """What `resolve` would give without the command line's overrides; None where there are none, or where the
        config alone cannot be resolved, and a file system would have to be asked. `scope` stays as it is.
        """
        if self.before is None:
            return None
        try:
            return replace(self, data=self.before, before=None).resolve(run, _untouched(scope)).data
        except ConfigError:
            return None

    def with_values(self, values: Mapping[str, Any], run: Mapping[str, Any], scope: EnvScope) -> dict[str, Any] | None:
        """What `resolve` would give with other values at keys that are there, and with what follows them; None where
        that cannot be resolved. `scope` stays as it is.
        """
        data = copy.deepcopy(self.data)
        for key, value in values.items():
            above, _, leaf = key.rpartition(".")
            section = get(data, above) if above else data
            if isinstance(section, dict) and leaf in section:
                section[leaf] = value
        try:
            return replace(self, data=data, before=None).resolve(run, _untouched(scope)).data
        except ConfigError:
            return None

    def resolve(self, run: Mapping[str, Any], scope: EnvScope) -> Config:
        """The config with every `${...}` resolved; `run` holds the values behind `${run.*}`.

        Raises:
            ConfigError: a reference to a key or an environment variable that is not there.
        """
        data = interpolate(self, {**self.data, "run": {**self.run, **run}}, scope)
        del data["run"]
        sources = {key: self.where(key) for key, _ in flatten(data)}
        used = scope.artifacts.used if scope.artifacts else {}
        for key, written in flatten(self.data):
            for name in _ARTIFACT.findall(str(written)) if key in sources else ():
                sources[key] += f", artifact {name_of(used[name])}"
        return Config(data, sources, tuple(sorted(scope.kept)))


def _untouched(scope: EnvScope) -> EnvScope:
    """A copy that takes what is noted meanwhile, and asks no file system."""
    known = scope.artifacts and replace(scope.artifacts, file_system=None, used=dict(scope.artifacts.used))
    return replace(scope, kept=set(), missing=set(), problem=None, artifacts=known)


def _parents(key: str) -> list[str]:
    """`a.b` and `a` of `a.b.c`."""
    return [key[: match.start()] for match in re.finditer(r"\.", key)]


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
