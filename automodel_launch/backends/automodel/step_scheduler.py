"""`step_scheduler:` as a value, with AutoModel's defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.keys import CKPT_EVERY, GLOBAL_BATCH, LOCAL_BATCH, MAX_STEPS, VAL_EVERY
from automodel_launch.backends.automodel.numbers import NotKnown, integer
from automodel_launch.config.dotted import has

_CKPT_EVERY = 100  # where the key is missing; null switches it off


@dataclass(frozen=True)
class Steps:
    """`step_scheduler:`; None where a key is missing or null, with StepSchedulerConfig's defaults filled in."""

    global_batch: int
    local_batch: int
    max_steps: int | None
    ckpt_every: int | None
    val_every: int | None


def is_given(config: Mapping[str, Any]) -> bool:
    """The config has the section; a recipe class of the user's own may do without."""
    return isinstance(config.get("step_scheduler"), Mapping)


def max_steps(config: Mapping[str, Any]) -> int | None:
    """Optimizer steps that the config asks for."""
    steps = loader.value(config, MAX_STEPS)
    return steps if isinstance(steps, int) else None


def steps(config: Mapping[str, Any]) -> Steps | None:
    """The section `step_scheduler:`; None where there is none, or a value is not known here."""
    if not is_given(config):
        return None
    try:
        return Steps(
            global_batch=integer(config, GLOBAL_BATCH, 32) or 0,
            local_batch=integer(config, LOCAL_BATCH, 1) or 0,
            max_steps=integer(config, MAX_STEPS, None),
            ckpt_every=integer(config, CKPT_EVERY, None if has(config, CKPT_EVERY) else _CKPT_EVERY),
            val_every=integer(config, VAL_EVERY, None),
        )
    except NotKnown:
        return None
