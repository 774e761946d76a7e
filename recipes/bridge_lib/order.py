"""What is asked for: the YAML file with the command line's settings on it, taken apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain_lib.config import ConfigError, one_line, read_yaml

STEP_FUNCTIONS = ("gpt_step", "vlm_step", "llava_step")
MODES = ("pretrain", "finetune")
OWN_KEYS = ("recipe", "mode", "step_func", "hf_configs")
"""Beside them stand the sections of Megatron-Bridge's ConfigContainer; `run` is the launcher's, and left out."""


@dataclass(frozen=True)
class Order:
    """One training.

    Attributes:
        recipe: name in megatron.bridge.recipes, or a dotted path.
        arguments: what the recipe's function is called with, or puts data into the config (blend.py).
        mode: "pretrain" or "finetune".
        step_func: one of STEP_FUNCTIONS, or a dotted path.
        hf_configs: hub id -> a directory, or what its config.json would hold.
        sections: name of a section -> its fields.
    """

    recipe: str
    arguments: Mapping[str, Any]
    mode: str
    step_func: str
    hf_configs: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | None, settings: Iterable[str] = ()) -> dict[str, Any]:
    """The file's content with `key.sub=value` settings on it, and every `${...}` resolved but those of `run`.

    Raises:
        ConfigError: it cannot be read, or something in it cannot be resolved.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    raw = read_yaml(path) if path else {}
    try:
        config = OmegaConf.create(raw)
        for setting in settings:
            key, sign, value = setting.lstrip("+").partition("=")
            if not sign or not key:
                raise ConfigError(f"{setting!r}: expected key.sub=value")
            written = OmegaConf.to_container(OmegaConf.create(f"value: {value}"), resolve=False)
            assert isinstance(written, dict)
            OmegaConf.update(config, key, written["value"], force_add=True)
        resolved = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(
            f"the config {path or 'of the command line'} cannot be resolved: {one_line(error)}"
        ) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items() if key != "run"}


def take_apart(config: Mapping[str, Any], default_mode: str | None = None) -> Order:
    """The order in a resolved config; names of sections are checked later, against ConfigContainer.

    Raises:
        ConfigError: a key of the script's own is missing or has a value that it cannot have.
    """
    recipe, arguments = _recipe(config.get("recipe"))
    step_func = config.get("step_func") or STEP_FUNCTIONS[0]
    if not isinstance(step_func, str) or ("." not in step_func and step_func not in STEP_FUNCTIONS):
        raise ConfigError(f"step_func={step_func!r}: {valid(step_func, STEP_FUNCTIONS)}, or the path of a function")
    return Order(
        recipe=recipe,
        arguments=arguments,
        mode=_mode(config.get("mode"), recipe, default_mode),
        step_func=step_func,
        hf_configs=_hf_configs(config.get("hf_configs")),
        sections={key: value for key, value in config.items() if key not in OWN_KEYS},
    )


def _recipe(written: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(written, str) and written:
        return written, {}
    if isinstance(written, Mapping) and isinstance(written.get("_target_"), str):
        return written["_target_"], {str(key): value for key, value in written.items() if key != "_target_"}
    what = "is missing" if written is None else f"= {written!r}"
    raise ConfigError(f"recipe {what}: a name such as qwen3_8b_pretrain_config, or a mapping with _target_")


def _mode(written: Any, recipe: str, default: str | None) -> str:
    """As Megatron-Bridge's own scripts tell it from the name, unless it is written."""
    if written is not None:
        if written not in MODES:
            raise ConfigError(f"mode={written!r}: {valid(written, MODES)}")
        return str(written)
    name = recipe.rpartition(".")[2].lower()
    if "pretrain" in name:
        return "pretrain"
    if any(word in name for word in ("finetune", "sft", "peft")):
        return "finetune"
    if default is not None:
        return default
    raise ConfigError(f"recipe={recipe}: its name does not say what it does; set mode=pretrain or mode=finetune")


def _hf_configs(written: Any) -> dict[str, Any]:
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        raise ConfigError("hf_configs: expected a mapping from ids of the hub to directories or configurations")
    for name, value in written.items():
        if isinstance(value, str) and not Path(value, "config.json").is_file():
            raise ConfigError(f"hf_configs: {name}: there is no config.json in {value}")
        if not isinstance(value, (str, Mapping)):
            raise ConfigError(f"hf_configs: {name}: {value!r} is neither a directory nor a configuration")
    return {str(name): value for name, value in written.items()}


def valid(value: object, names: Iterable[str]) -> str:
    """What would be right, for a message; the nearest name first."""
    names = list(names)
    near = difflib.get_close_matches(str(value), names, 1)
    return f"did you mean {near[0]}? Valid: {', '.join(names)}" if near else f"valid: {', '.join(names)}"
