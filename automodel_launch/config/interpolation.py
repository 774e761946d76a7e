"""`${...}` in a merged config -> values, through OmegaConf; what cannot be resolved is named with its file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from automodel_launch.config.dotted import flatten
from automodel_launch.config.envscope import EnvScope
from automodel_launch.errors import ConfigError

_OUR_ENV = "launch.env"


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
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver  # 2.4, or before
    register(_OUR_ENV, scope.lookup, replace=True, use_cache=False)
    register("art", scope.artifact, replace=True, use_cache=False)
    scope.problem = None
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(_with_our_env(dict(data))), resolve=True)
    except OmegaConfBaseException as error:
        raise _unresolved(written, scope, error) from error
    filled: dict[str, Any] = dict(resolved)  # type: ignore[arg-type]  # a mapping stays one
    scope.settle(filled)
    unset = [key for key, value in flatten(filled) if value == "???"]  # OmegaConf's mark of a value to be given
    if unset:
        raise ConfigError(f"{written.where(unset[0])}: {unset[0]} must be given.", f"{unset[0]}=VALUE")
    if scope.missing:
        raise _missing(written, scope)
    return filled


def _unresolved(written: Written, scope: EnvScope, error: Exception) -> ConfigError:
    if scope.missing:  # oc.decode of a variable that is not set, say
        return _missing(written, scope)
    key = getattr(error, "full_key", None) or "?"
    if scope.problem:
        return ConfigError(f"{written.where(key)}: {key}: {scope.problem}", scope.hint)
    return ConfigError(
        f"{written.where(key)}: {key}: {str(error).splitlines()[0]}.",
        "references: ${key.sub}, ${run.*}, ${art:data,path}, ${oc.env:NAME} or ${oc.env:NAME,default}",
    )


def _with_our_env(value: Any) -> Any:
    """`oc.env` as a resolver of our own: OmegaConf's would have to be replaced for the whole process."""
    if isinstance(value, Mapping):
        return {key: _with_our_env(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_our_env(entry) for entry in value]
    return value.replace("${oc.env:", f"${{{_OUR_ENV}:") if isinstance(value, str) else value


def _missing(written: Written, scope: EnvScope) -> ConfigError:
    names = sorted(scope.missing)
    uses = [
        f"{key} ({written.sources.get(key, written.path.name)})"
        for key, value in flatten(written.data)
        if any(f"oc.env:{name}" in str(value) for name in names)
    ]
    first = names[0]
    return ConfigError(
        f"{written.path.name} needs the environment variable{'s' if len(names) > 1 else ''} {', '.join(names)},"
        f" and nothing sets {'them' if len(names) > 1 else 'it'}: used by {', '.join(uses) or 'run.env'}.",
        f"export {first}=..., or run.env.env_vars.{first}=..., or a default ${{oc.env:{first},DEFAULT}}; if only the"
        f" job knows it, list it in the config: `run: {{job_env: [{first}]}}`",
    )
