"""`${...}` in a merged config -> values, through OmegaConf; what cannot be resolved is named with its file and line."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from automodel_launch.config import bounds, dotted, simple
from automodel_launch.config.aside import Aside, Inside
from automodel_launch.config.dotted import flatten
from automodel_launch.config.envscope import EnvScope
from automodel_launch.errors import ConfigError
from automodel_launch.suggest import did_you_mean

_OUR_ENV = "launch.env"
# AutoModel's own form (components/config/loader.py, resolve_yaml_env_vars); its default is taken as it stands
_AUTOMODELS = re.compile(r"\$\{\s*([A-Za-z_]\w*)\s*(?:,([^{}]*))?\}")
_REFERENCES = (
    "references: ${key.sub}, ${run.*}, ${art:data,path}, ${oc.env:NAME}, ${NAME}, or these two with a default:"
    " ${NAME,default}"
)
_COMPUTED = re.compile(r"\$\{[^}]*\$\{|\$\{[\s.]*\}")  # a key that is made of others, or the section around it
_LAUNCHERS = "run"  # a section that AutoModel never sees; in its shell lines `${NAME}` is the shell's


class Written(Protocol):
    """A config as it was written, for messages."""

    path: Path
    data: dict[str, Any]
    sources: dict[str, str]

    def where(self, key: str) -> str:
        """The source of a dotted key, as FILE:LINE or the override."""


def interpolate(written: Written, data: Mapping[str, Any], scope: EnvScope) -> dict[str, Any]:
    """`data`, which is `written` or a part of it with our own values, with every reference resolved.

    Raises:
        ConfigError: a reference to a key or an environment variable that is not there, or a value that must be given.
    """
    scope.problem = None
    bounds.check_references(data, str(written.path))
    with contextlib.suppress(RecursionError):
        data = simple.replaced(data, scope.known)
    with contextlib.suppress(_NotPlain, RecursionError):
        return _settled(written, _plain(dict(data)), scope)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def resolved(given: Mapping[str, Any]) -> Any:
        return OmegaConf.to_container(OmegaConf.create(_with_our_env(given, {*data, *written.data})), resolve=True)

    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver  # 2.4, or before
    register(_OUR_ENV, scope.lookup, replace=True, use_cache=False)
    register("art", scope.artifact, replace=True, use_cache=False)
    aside = Aside()
    plain, rest = _apart(data)
    shorter = aside.take(rest)
    try:
        try:
            filled: dict[str, Any] = _together(data, plain, aside.put_back(resolved(shorter)))
        except (OmegaConfBaseException, Inside):
            if not aside.lists and not plain:
                raise
            filled = resolved(data)  # a reference to an entry of such a list, say
    except OmegaConfBaseException as error:
        raise _unresolved(written, scope, error) from error
    except RecursionError:
        raise bounds.too_deep(str(written.path)) from None
    return _settled(written, filled, scope)


class _NotPlain(Exception):
    """There is something that OmegaConf has to resolve, or may refuse."""


def _plain(value: Any) -> Any:
    """A copy, as OmegaConf, whose import takes long, would make it: what an alias names is a copy in each place.

    Raises:
        _NotPlain: OmegaConf has to make it.
    """
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(entry) for key, entry in value.items()}
    if type(value) is list:
        return [_plain(entry) for entry in value]
    if value is None or type(value) in (bool, int, float) or (type(value) is str and "${" not in value):
        return value
    raise _NotPlain


def _apart(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies of the values that have no reference and whose keys stand in none, and all else: OmegaConf takes some 50
    microseconds for an entry, and would change none of the former."""
    references = " ".join(value for _, value in dotted.leaves(data) if isinstance(value, str) and "${" in value)
    if _COMPUTED.search(references):
        return {}, dict(data)
    return _without(data, references)


def _without(data: Mapping[str, Any], references: str) -> tuple[dict[str, Any], dict[str, Any]]:
    plain, rest = {}, {}
    for key, value in data.items():
        if type(key) is str and key not in references:
            with contextlib.suppress(_NotPlain, RecursionError):
                plain[key] = _plain(value)
                continue
            if type(value) is dict:
                plain[key], rest[key] = _without(value, references)
                continue
        rest[key] = value
    return plain, rest


def _together(data: Mapping[str, Any], plain: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """What was taken apart, in the order that it had."""
    return {
        key: _together(value, plain[key], rest[key])
        if key in plain and key in rest
        else (rest if key in rest else plain)[key]
        for key, value in data.items()
    }


def _settled(written: Written, filled: dict[str, Any], scope: EnvScope) -> dict[str, Any]:
    """The same, if it has all that it needs.

    Raises:
        ConfigError: see `interpolate`.
    """
    scope.settle(filled)
    unset = [key for key, value in flatten(filled) if value == "???"]  # OmegaConf's mark of a value to be given
    if unset:
        raise ConfigError(f"{written.where(unset[0])}: {unset[0]} must be given.", f"{unset[0]}=VALUE")
    if scope.missing:
        raise _missing(written, scope)
    _refuse_what_nothing_takes(written, filled)
    return filled


def _refuse_what_nothing_takes(written: Written, filled: Mapping[str, Any]) -> None:
    for key, value in dotted.leaves(filled):
        if key.startswith("run."):
            continue
        if isinstance(value, str) and "\0" in value:
            what = "holds a NUL character: no path and no argument can"
        elif isinstance(value, int) and abs(value) > sys.float_info.max:
            what = "is a number of more than 300 digits: no program takes one"
        else:
            continue
        shown = next((above for above in written.sources if key == above or key.startswith(f"{above}.")), key)
        raise ConfigError(f"{written.where(shown)}: {key} {what}.")


def _unresolved(written: Written, scope: EnvScope, error: Exception) -> ConfigError:
    if scope.missing:  # oc.decode of a variable that is not set, say
        return _missing(written, scope)
    key = getattr(error, "full_key", None) or "?"
    if scope.problem:
        return ConfigError(f"{written.where(key)}: {key}: {scope.problem}", scope.hint)
    value = str(dotted.get(written.data, key))
    if type(error).__name__ == "GrammarParseError":
        open_ = value.count("${") > value.count("}")
        what = "a reference `${` is not closed by a `}`" if open_ else "a reference `${...}` is not understood"
        return ConfigError(f"{written.where(key)}: {key}: {what}.", _REFERENCES)
    return ConfigError(
        f"{written.where(key)}: {key}: {str(error).splitlines()[0]}.",
        _REFERENCES,
    )


def _with_our_env(data: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """`oc.env` as a resolver of our own, OmegaConf's would have to be replaced for the whole process; and `${NAME}` and
    `${NAME,default}` as the same, where NAME is not one of `keys`, those at the top level."""

    def automodels(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if default is not None:
            return f"${{{_OUR_ENV}:{name},{_quoted(default.strip())}}}"
        return match[0] if name in keys else f"${{{_OUR_ENV}:{name}}}"

    def ours(value: Any, bare: bool) -> Any:
        if isinstance(value, Mapping):
            return {key: ours(entry, bare) for key, entry in value.items()}
        if isinstance(value, list):
            return [ours(entry, bare) for entry in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        value = _AUTOMODELS.sub(automodels, value) if bare else value
        return value.replace("${oc.env:", f"${{{_OUR_ENV}:")

    keys = set(keys)
    return {key: ours(value, bare=key != _LAUNCHERS) for key, value in data.items()}


def _quoted(text: str) -> str:
    """A string of OmegaConf's grammar."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def _missing(written: Written, scope: EnvScope) -> ConfigError:
    names = sorted(scope.missing)
    reference = re.compile(rf"\$\{{\s*(oc\.env:\s*)?({'|'.join(map(re.escape, names))})\b")
    found = [(key, match) for key, value in flatten(written.data) if (match := reference.search(str(value)))]
    uses = [f"{key} ({written.sources.get(key, written.path.name)})" for key, _ in found]
    near = next((did_you_mean(match[2], map(str, written.data)) for _, match in found if not match[1]), "")
    first, instead = names[0], " ".join(f"{key}=..." for key, _ in found)
    exports, listed = " ".join(f"{name}=..." for name in names), ", ".join(names)
    return ConfigError(
        f"{written.path.name} needs the environment variable{'s' if len(names) > 1 else ''} {listed},"
        f" and nothing sets {'them' if len(names) > 1 else 'it'}: used by {', '.join(uses) or 'run.env'}.{near}",
        f"{instead}{', or ' if instead else ''}export {exports}, or run.env.env_vars.{first}=..., or a"
        f" default ${{oc.env:{first},DEFAULT}}; if only the job knows it: `run: {{job_env: [{listed}]}}` in the config",
    )
