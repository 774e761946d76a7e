"""The configuration: one YAML file, as it stands and as AutoModel's own loader gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from . import data_phases

LOADER_ERRORS = (AssertionError, AttributeError, ImportError, KeyError, OSError, ValueError, yaml.YAMLError)
"""What AutoModel's loader raises on a bad file: it resolves every `_target_` and every variable while it loads."""


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line that says why and what fixes it."""


def read_yaml(path: str) -> dict[str, Any]:
    """Returns the mapping in the YAML file at `path`, as it stands; nothing in it is resolved."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the config {path} is not a YAML mapping")
    return content


def load_config(path: str) -> Any:
    """Returns the configuration as AutoModel's own loader gives it; this process's arguments have no part in it.

    With data in phases, which AutoModel does not know, its dataset is ours.

    Raises:
        ConfigError: it cannot be used.
    """
    from nemo_automodel.components.config._arg_parser import parse_args_and_load_config

    try:
        # This entry point, and not load_yaml_config, because it also honours `wandb.enable`.
        config = parse_args_and_load_config(argv=["--config", path])
    except LOADER_ERRORS as error:
        raise ConfigError(f"AutoModel cannot load the config {path}: {one_line(error)}") from error
    if config.get(data_phases.KEY, None) is not None:
        from . import phased_data

        try:
            phased_data.install(config)
        except data_phases.PhaseError as error:
            raise ConfigError(str(error)) from error
    return config


def one_line(error: BaseException) -> str:
    """Returns the error's message without line breaks, or its type's name where it has none."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
