"""With which weights a training begins."""

from __future__ import annotations

import json

from automodel_launch.backends import Config, Start
from automodel_launch.backends.megatron_bridge.keys import PRETRAINED
from automodel_launch.config.dotted import get, has
from automodel_launch.errors import ConfigError


def begin_from(config: Config, start: Start) -> list[str]:
    """checkpoint.pretrained_checkpoint, which Megatron-Bridge 0.3.1 reads while `load` has no checkpoint yet."""
    if not start.megatron:
        raise ConfigError(
            f"{start.path} is in transformers' format, which Megatron-Bridge does not begin from.",
            f"`python launch.py convert hf-to-megatron source={start.path} output=DIR`, then {PRETRAINED}=DIR",
        )
    return [f"{'' if has(config, PRETRAINED) else '+'}{PRETRAINED}={json.dumps(start.path)}"]


def begins_with(config: Config) -> str | None:
    """checkpoint.pretrained_checkpoint."""
    place = get(config, PRETRAINED)
    return place if isinstance(place, str) else None
