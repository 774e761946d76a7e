"""With which weights a training begins, and what its log says it was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from automodel_launch.backends import Config, Start
from automodel_launch.backends.automodel.keys import MODEL, PRETRAINED
from automodel_launch.config.dotted import get, has
from automodel_launch.errors import ConfigError

_TARGET = f"{MODEL}._target_"
_LOADS, _BUILDS = "from_pretrained", "from_config"
_VERSION = re.compile(r"\| - (\w+): (\S+)")
_HEADING = "Library versions:"
_MOST = 12  # lines below it that are looked at


def begin_from(config: Config, start: Start) -> list[str]:
    """`from_pretrained` in place of `from_config`, and the directory; see backends.Backend."""
    if start.megatron:
        raise ConfigError(
            f"{start.path} is in Megatron's format, which AutoModel does not load.",
            "`python launch.py convert megatron-to-hf` makes a directory for model.pretrained_model_name_or_path",
        )
    target = get(config, _TARGET)
    builder, _, how = str(target).rpartition(".")
    if how not in (_LOADS, _BUILDS) or not isinstance(config.get(MODEL), Mapping):
        raise ConfigError(
            f"{_TARGET} is {target!r}: --from sets what {_LOADS} loads, and this is another builder.",
            f"{_TARGET}=nemo_automodel.NeMoAutoModelForCausalLM.{_LOADS}, or a config that has it",
        )
    place = json.dumps(start.path)
    key = f"{MODEL}.{PRETRAINED}"
    changes = [f"{'' if has(config, key) else '+'}{key}={place}"]
    if how == _BUILDS:
        changes.append(f"{_TARGET}={builder}.{_LOADS}")
    if has(config, f"{MODEL}.config"):
        changes.append(f"~{MODEL}.config")
    return changes


def begins_with(config: Config) -> str | None:
    """model.pretrained_model_name_or_path, where the builder loads weights."""
    place = get(config, f"{MODEL}.{PRETRAINED}")
    loads = str(get(config, _TARGET)).endswith(f".{_LOADS}")
    return place if loads and isinstance(place, str) else None


def is_random(config: Config) -> bool:
    """The builder makes a model of a config, and loads none."""
    return str(get(config, _TARGET)).endswith(f".{_BUILDS}")


def versions(log: str) -> dict[str, str]:
    """AutoModel's, transformers' and torch's (recipes/base_recipe.py, `_log_library_versions`)."""
    lines = log.partition(_HEADING)[2].splitlines()[1 : _MOST + 1]
    return {match[1]: match[2] for line in lines if (match := _VERSION.search(line))}
