"""What trackers and checkpoints are told of the configuration: references to secrets, and not their values.

AutoModel 0.7.0 hands W&B (`wandb.init(config=...)`) and Comet (`log_params`) the configuration with every
`${oc.env:NAME}` resolved; MLflow, checkpoints (config.yaml) and the log get it as it was written, but for values that
are numbers. Megatron-Bridge 0.3.1 hands W&B and MLflow the resolved one. So these calls are given what the file says
wherever that names a secret.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import contract
import secret_rules

_NAMES = re.compile(r"\$\{(?:oc\.env:)?\s*([A-Za-z_]\w*)\s*(?:,[^}]*)?\}|\$([A-Za-z_]\w*)")  # as AutoModel reads them


def keep_secrets_from_trackers(raw: Mapping[str, Any]) -> None:
    """Has the trackers that the configuration `raw` uses told what `raw` says where that names a secret."""
    if raw.get("wandb") is not None:
        keep_secrets_from_wandb(raw)
    if raw.get("comet") is not None:
        module = "nemo_automodel.components.loggers.comet_utils"
        _replace(module, "CometLogger.log_params", lambda log: _without_secrets(log, raw, "params"))


def keep_secrets_from_files(config: Any, raw: Mapping[str, Any]) -> None:
    """Has AutoModel's `config`, loaded from `raw`, written as that says where it names a secret."""

    def wrap(to_yaml_dict: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(to_yaml_dict)
        def told(self: Any, **kwargs: Any) -> Any:
            found = to_yaml_dict(self, **kwargs)
            is_written = self is config and not kwargs.get("resolve_env")  # its sections are of the same class
            return as_written(found, raw) if is_written else found

        return told

    _replace("nemo_automodel.components.config.loader", "ConfigNode.to_yaml_dict", wrap)


def keep_secrets_from_wandb(raw: Mapping[str, Any]) -> None:
    """Has W&B told what `raw` says where that names a secret, and not what was made of it."""
    _replace("wandb", "init", lambda init: _without_secrets(init, raw, "config"))


def keep_secrets_from_mlflow(raw: Mapping[str, Any]) -> None:
    """Has MLflow told so of a configuration of Megatron-Bridge's: of its parameters, which are named by paths
    (`dataset.token`), and of the tags in its section `logger`."""
    logger = raw.get("logger")
    tags = logger.get("mlflow_tags") if isinstance(logger, Mapping) else None
    _replace("mlflow", "log_params", lambda log: _without_secrets(log, dict(_by_path(raw)), "params"))
    for name in ("start_run", "set_tags"):
        _replace("mlflow", name, lambda call: _without_secrets(call, tags, "tags"))


def _by_path(raw: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        if isinstance(value, Mapping):
            yield from _by_path(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def as_written(resolved: Any, raw: Any) -> Any:
    """`resolved` with the strings of `raw` in which a secret is named, and no value of a secret anywhere else."""
    named = set(os.environ.get(contract.HIDDEN_VAR, "").split(","))
    values = secret_rules.secret_values(os.environ, named)

    def shown(value: Any, written: Any) -> Any:
        if isinstance(written, str) and _secrets_in(written, named):
            return written
        if isinstance(written, list) and isinstance(value, str) and _secrets_in(str(written), named):
            return str(written)
        if isinstance(value, Mapping):
            below = written if isinstance(written, Mapping) else {}
            return {key: item if key == "_target_" else shown(item, below.get(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            beside = written if isinstance(written, list) and len(written) == len(value) else [None] * len(value)
            return [shown(item, other) for item, other in zip(value, beside, strict=True)]
        if isinstance(value, str):
            for name, secret in values.items():
                if secret in value:  # else an enumeration of strings stays one
                    value = value.replace(secret, f"${{oc.env:{name}}}")
        return value

    return shown(resolved, raw)


def _secrets_in(written: str, named: set[str]) -> bool:
    names = (braced or bare for braced, bare in _NAMES.findall(written))
    return any(name in named or secret_rules.is_secret_name(name) for name in names)


def _without_secrets(call: Callable[..., Any], raw: Mapping[str, Any] | None, argument: str) -> Callable[..., Any]:
    """`call`, with its argument of that name (or any mapping among the others) told as it is written."""

    @functools.wraps(call)
    def told(*args: Any, **kwargs: Any) -> Any:
        args = tuple(as_written(value, raw) if isinstance(value, Mapping) else value for value in args)
        if isinstance(kwargs.get(argument), Mapping):
            kwargs[argument] = as_written(kwargs[argument], raw)
        return call(*args, **kwargs)

    return told


def _replace(module: str, path: str, wrap: Callable[[Any], Any]) -> None:
    """Put a wrapped function in a function's place; AutoModel itself says what it misses where there is no module."""
    try:
        owner: Any = importlib.import_module(module)
    except ImportError:
        return
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    setattr(owner, name, wrap(getattr(owner, name)))
