"""Layers (`defaults:` chains, the config, overrides) -> Config, with where each value came from.

`load` merges and is pure of the environment; `Layered.resolve` fills in `${...}`. The result is what AutoModel
gets: complete, resolved, without our own section `run`. What only the job can know stays in it as `${oc.env:NAME}`,
a form that AutoModel 0.7.0's loader resolves (components/config/loader.py, resolve_yaml_env_vars).
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automodel_launch.config import yamlio
from automodel_launch.config.artifacts import name_of
from automodel_launch.config.envscope import EnvScope
from automodel_launch.config.overrides import Override
from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.plan.recipes import Recipe
from automodel_launch.suggest import did_you_mean, nearest, nearest_key

_OUR_ENV = "launch.env"
_ARTIFACT = re.compile(r"\$\{art:\s*(\w+)\s*,")
RUN_KEYS = ("env", "wandb", "data", "job_env")


@dataclass(frozen=True)
class Config:
    """A resolved training config: `data` is what travels, `sources` has an entry for each of its leaves."""

    data: dict[str, Any]
    sources: dict[str, str]
    deferred: tuple[str, ...]  # environment names that the job resolves


@dataclass
class Layered:
    """A merged config before `${...}` is filled in."""

    name: str
    path: Path
    data: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()  # keys that the recipe knows and this config may lack
    profile_overrides: dict[str, Any] = field(default_factory=dict)  # run.env.KEY=value of the command line

    @property
    def run(self) -> dict[str, Any]:
        """The launcher's own section, unresolved."""
        section = self.data.get("run") or {}
        if not isinstance(section, dict):
            raise ConfigError(f"{self.sources.get('run', self.path)}: run: is a mapping, not {section!r}.")
        return section

    def section(self, key: str, kind: type, name: str) -> Any:
        """The value of `run.KEY`, empty where it is not given."""
        value = kind() if self.run.get(key) is None else self.run[key]
        if not isinstance(value, kind):
            where = self.sources.get(f"run.{key}", str(self.path))
            raise ConfigError(f"{where}: run.{key} is a {name}, not {value!r}.")
        return value

    @property
    def job_env(self) -> list[str]:
        """`run.job_env`: names of variables that only the job has."""
        names = self.section("job_env", list, "list of names")
        if not all(isinstance(name, str) for name in names):
            where = self.sources.get("run.job_env", self.path)
            raise ConfigError(f"{where}: run.job_env is a list of names, not {names!r}.")
        return list(names)

    def run_env(self, scope: EnvScope) -> dict[str, Any]:
        """`run.env`: profile defaults of this config, resolved."""
        env = self.section("env", dict, "mapping")
        resolved: dict[str, Any] = _interpolate(self, {"env": env, "run": {"env": env}}, scope)["env"]
        return resolved

    def resolve(self, run: Mapping[str, Any], scope: EnvScope) -> Config:
        """The config with every `${...}` filled in; `run` holds the values behind `${run.*}`.

        Raises:
            ConfigError: a reference to a key or an environment variable that is not there.
        """
        data = _interpolate(self, {**self.data, "run": {**self.run, **run}}, scope)
        del data["run"]
        leaves = dict(flatten(data))
        sources = {key: self.sources.get(key, str(self.path)) for key in leaves}
        used = scope.artifacts.used if scope.artifacts else {}
        for key, written in flatten(self.data):
            for name in _ARTIFACT.findall(str(written)) if key in sources else ():
                sources[key] += f", artifact {name_of(used[name])}"
        return Config(data, sources, tuple(sorted(scope.kept)))


def load(recipe: Recipe, wanted: str | None, overrides: Iterable[Override], options: Iterable[str] = ()) -> Layered:
    """Merge a config's `defaults:` chain, the config and the overrides.

    `wanted` is a name in the recipe's folder of configs or a path; `options` are the launcher's own, for suggestions.

    Raises:
        ConfigError, UsageError: unknown config, not YAML, a circle of defaults, an override that does not fit.
    """
    path = find(recipe, wanted or recipe.default_config)
    layered = Layered(name=path.stem, path=path, data={}, optional=(*recipe.optional, "run.data"))
    for document, origin in _chain(path, ()):
        _merge(layered.data, document.data)
        _note(layered, document, origin)
    unknown = [key for key in layered.run if key not in RUN_KEYS]
    if unknown:
        where = layered.sources.get(f"run.{unknown[0]}", str(path))
        raise ConfigError(
            f"{where}: unknown key 'run.{unknown[0]}'.{did_you_mean(unknown[0], RUN_KEYS)}",
            f"`run:` takes {', '.join(RUN_KEYS)}; run.name is given by --name",
        )
    for override in overrides:
        _apply(layered, override, options)
    _check_profile_keys(layered)
    return layered


def refuse_bare_options(overrides: Iterable[Override], options: Iterable[str]) -> None:
    """Refuse `--word` without a value that is near one of the launcher's own options, before anything else is read.

    Raises:
        UsageError: a misspelt option.
    """
    for override in overrides:
        near = nearest(override.text, options) if override.dashed and "=" not in override.text else None
        if near:
            raise UsageError(
                f"unknown option {override.text}. Did you mean '{near}'? Nothing was submitted.",
                "options: python launch.py check --help",
            )


def _check_profile_keys(layered: Layered) -> None:
    from automodel_launch.profile import schema

    known = [key for key in schema.WRITTEN_KEYS if key != "extends"]
    for key in layered.section("env", dict, "mapping"):
        if key not in known:
            where = layered.sources.get(f"run.env.{key}", str(layered.path))
            raise ConfigError(f"{where}: run.env.{key}: no key of a profile.{did_you_mean(str(key), known)}")


def find(recipe: Recipe, wanted: str) -> Path:
    """The file of a config.

    Raises:
        ConfigError: there is none.
    """
    if wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        path = Path(os.path.abspath(Path(wanted).expanduser()))  # noqa: PTH100  # without `..`, links as they are
        if not path.is_file():
            raise ConfigError(f"{path}: no such config file.")
        return path
    path = recipe.config_dir / f"{wanted}.yaml"
    if not path.is_file():
        known = available(recipe)
        raise ConfigError(
            f"no config '{wanted}' in {recipe.config_dir}.{did_you_mean(wanted, known)}",
            f"configs of {recipe.name}: {', '.join(known) or 'none'}; or give the path of a .yaml file",
        )
    return path


def available(recipe: Recipe) -> list[str]:
    """Names that -c takes for this recipe."""
    return sorted(path.stem for path in recipe.config_dir.glob("*.yaml"))


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as (dotted key, value); a list or an empty mapping is a leaf."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _chain(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[yamlio.Document, Path]]:
    """The documents of a config, weakest first: each entry of `defaults:`, then the config itself."""
    if path in above:
        circle = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{above[-1]}: defaults: run in a circle: {circle}")
    document = yamlio.read(path)
    defaults = document.data.pop("defaults", [])
    if not isinstance(defaults, list) or not all(isinstance(entry, str) for entry in defaults):
        line = document.lines.get("defaults")
        raise ConfigError(f"{path}:{line}: defaults: is a list of config names or paths, not {defaults!r}.")
    for entry in defaults:
        if entry == "_self_":  # Hydra's word for this file; it always comes last here
            continue
        name = entry if entry.endswith((".yaml", ".yml")) else f"{entry}.yaml"
        other = Path(os.path.abspath(path.parent / name))  # noqa: PTH100
        if not other.is_file():
            names = sorted(p.stem for p in path.parent.glob("*.yaml"))
            raise ConfigError(
                f"{path}:{document.lines.get('defaults')}: defaults names '{entry}', and there is no {other}."
                f"{did_you_mean(entry, names)}"
            )
        yield from _chain(other, (*above, path))
    yield document, path


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _note(layered: Layered, document: yamlio.Document, origin: Path) -> None:
    base = layered.path.parent
    shown = origin.relative_to(base.parent) if origin.is_relative_to(base.parent) else origin
    for key, value in flatten(document.data):
        if value == {} and any(k.startswith(f"{key}.") for k in layered.sources):
            continue  # an empty mapping over a filled one changes nothing
        _forget(layered, key)
        layered.sources[key] = f"{shown}:{document.lines.get(key, '?')}"


def _forget(layered: Layered, key: str) -> None:
    """A value at `key` hides what stood below it and, where it was no mapping, above it."""
    hidden = [k for k in layered.sources if k.startswith(f"{key}.") or key.startswith(f"{k}.")]
    for old in hidden:
        del layered.sources[old]


def _apply(layered: Layered, override: Override, options: Iterable[str]) -> None:
    if override.dashed and "=" not in override.text:
        raise _unknown_option(layered, override, options)
    if override.key.startswith("run.env."):
        _apply_to_profile(layered, override)
        return
    *parents, leaf = override.key.split(".")
    if override.key == "run" or (parents[:1] == ["run"] and ([*parents, leaf][1]) not in RUN_KEYS):
        raise ConfigError(
            f"override {override.text}: '{override.key}' is not set this way.",
            "run.env.KEY=value sets a key of the profile; --name gives the run's name",
        )
    node = _node(layered, override, parents, options)
    if override.action == "remove":
        if leaf not in node:
            raise _unknown_key(layered, override, options)
        del node[leaf]
        _forget(layered, override.key)
        layered.sources.pop(override.key, None)
        if not node and parents:
            layered.sources[".".join(parents)] = f"override {override.text}"
        return
    if override.action == "set":
        if leaf not in node and override.key not in layered.optional:
            raise _unknown_key(layered, override, options)
        _same_kind(layered, override, node.get(leaf))
    node[leaf] = copy.deepcopy(override.value)
    _forget(layered, override.key)
    added = flatten(override.value) if isinstance(override.value, Mapping) and override.value else []
    layered.sources.update({f"{override.key}.{k}": f"override {override.text}" for k, _ in added})
    if not added:
        layered.sources[override.key] = f"override {override.text}"


def _apply_to_profile(layered: Layered, override: Override) -> None:
    key = override.key.removeprefix("run.env.")
    if override.action == "remove":
        raise ConfigError(f"override {override.text}: a key of the profile cannot be removed, only set.")
    table, _, name = key.partition(".")
    if name:  # run.env.env_vars.NAME=value
        if table not in ("env_vars", "additional_parameters"):
            raise ConfigError(f"override {override.text}: '{table}' is no table of a profile, so it has no keys.")
        value = override.value if table == "additional_parameters" else _text(override)
        if not isinstance(layered.profile_overrides.setdefault(table, {}), dict):
            raise ConfigError(f"override {override.text}: another override makes {table} something else than a table.")
        layered.profile_overrides[table] = {**layered.profile_overrides[table], name: value}
    else:
        layered.profile_overrides[key] = override.value


def _text(override: Override) -> str:
    """The value of a variable: what was written, `010` and `1e-4` too; only quotes of YAML go."""
    return override.value if isinstance(override.value, str) else override.text.partition("=")[2]


def _node(layered: Layered, override: Override, parents: list[str], options: Iterable[str]) -> dict[str, Any]:
    node: Any = layered.data
    for part in parents:
        if part not in node or node[part] is None:
            if override.action != "add" and override.key not in layered.optional:
                raise _unknown_key(layered, override, options)
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise ConfigError(f"override {override.text}: '{part}' holds {node!r}, no mapping, so it has no keys.")
    return node  # type: ignore[no-any-return]  # checked in the loop


def _unknown_key(layered: Layered, override: Override, options: Iterable[str]) -> ConfigError | UsageError:
    known = [*_all_keys(layered.data), *layered.optional]
    if override.dashed and "." not in override.key:
        return _unknown_option(layered, override, options)
    near = nearest_key(override.key, known)
    guess = f" Did you mean '{near}'?" if near else ""
    dashes = "--" if override.dashed else ""
    how = f"write +{override.key}=... to add a new key" if override.action != "remove" else "see --dry-run for the keys"
    return ConfigError(
        f"override {override.text}: the config {layered.path.name} has no key '{override.key}'.{guess}",
        f"{dashes}{near}=...; {how}" if near else how,
    )


def _unknown_option(layered: Layered, override: Override, options: Iterable[str]) -> UsageError:
    option = override.text.partition("=")[0]
    own = [*layered.data, *layered.optional]
    if override.key in [*_all_keys(layered.data), *own] and "=" not in override.text:
        return UsageError(f"{option} needs a value: {option} VALUE or {override.key}=VALUE.")
    known = [*options, *(f"--{key}" for key in own if key != "run")]
    return UsageError(
        f"unknown option {option}.{did_you_mean(option, known)} Nothing was submitted.",
        "options: python launch.py --help; a key of the config is set by key.sub=value",
    )


def _all_keys(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in data.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys.extend(_all_keys(value, f"{prefix}{key}."))
    return keys


def _same_kind(layered: Layered, override: Override, old: Any) -> None:
    """An override keeps the kind of the value it replaces: a number stays a number, a mapping a mapping."""
    new = override.value
    if old is None or new is None or _is_reference(old) or _is_reference(new):
        return
    kinds = {bool: "true or false", int: "an integer", float: "a number", list: "a list", dict: "a mapping"}
    kind = type(old)
    fits = type(new) is kind or (kind is float and type(new) is int) or kind not in kinds
    if kind is list and isinstance(new, str):  # AutoModel takes a path or a list of paths
        fits = True
    if kind is str and isinstance(new, dict):  # `key=a: b` is a mapping in YAML, and was hardly meant as one
        raise ConfigError(f"override {override.text}: {override.key} is a string, and {new!r} a mapping.", "quote it")
    if not fits:
        where = layered.sources.get(override.key, layered.path.name)
        raise ConfigError(
            f"override {override.text}: {override.key} is {kinds[kind]} ({old!r} in {where}), not {new!r}.",
            f"{override.key}={old!r}, or +{override.key}=... to set it all the same",
        )


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _interpolate(layered: Layered, data: Mapping[str, Any], scope: EnvScope) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver  # 2.4, or before
    register(_OUR_ENV, scope.lookup, replace=True, use_cache=False)
    register("art", scope.artifact, replace=True, use_cache=False)
    scope.problem = None
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(_with_our_env(dict(data))), resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        reason = str(error).splitlines()[0]
        if scope.missing:  # oc.decode of a variable that is not set, say
            raise _missing(layered, scope) from error
        where = layered.sources.get(key, str(layered.path))
        if scope.problem:
            raise ConfigError(f"{where}: {key}: {scope.problem}", scope.hint) from error
        raise ConfigError(
            f"{where}: {key}: {reason}.",
            "references: ${key.sub}, ${run.*}, ${art:data,path}, ${oc.env:NAME} or ${oc.env:NAME,default}",
        ) from error
    filled: dict[str, Any] = dict(resolved)  # type: ignore[arg-type]  # a mapping stays one
    scope.settle(filled)
    unset = [key for key, value in flatten(filled) if value == "???"]  # OmegaConf's word for a value to be given
    if unset:
        where = layered.sources.get(unset[0], str(layered.path))
        raise ConfigError(f"{where}: {unset[0]} must be given.", f"{unset[0]}=VALUE")
    if scope.missing:
        raise _missing(layered, scope)
    return filled


def _with_our_env(value: Any) -> Any:
    """`oc.env` as a resolver of our own: OmegaConf's would have to be replaced for the whole process."""
    if isinstance(value, Mapping):
        return {key: _with_our_env(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_our_env(entry) for entry in value]
    return value.replace("${oc.env:", f"${{{_OUR_ENV}:") if isinstance(value, str) else value


def _missing(layered: Layered, scope: EnvScope) -> ConfigError:
    names = sorted(scope.missing)
    uses = [
        f"{key} ({layered.sources.get(key, layered.path.name)})"
        for key, value in flatten(layered.data)
        if any(f"oc.env:{name}" in str(value) for name in names)
    ]
    first = names[0]
    return ConfigError(
        f"{layered.path.name} needs the environment variable{'s' if len(names) > 1 else ''} {', '.join(names)},"
        f" and nothing sets {'them' if len(names) > 1 else 'it'}: used by {', '.join(uses) or 'run.env'}.",
        f"export {first}=..., or run.env.env_vars.{first}=..., or a default ${{oc.env:{first},DEFAULT}}; if only the"
        f" job knows it, list it in the config: `run: {{job_env: [{first}]}}`",
    )
