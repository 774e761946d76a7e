"""`lr_scheduler:` as a value, with what AutoModel derives where a key is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.keys import DECAY, INIT_LR, LR, MAX_LR, MAX_STEPS, MIN_LR, WARMUP, WSD_STEPS
from automodel_launch.backends.automodel.numbers import NotKnown, integer, number
from automodel_launch.config.dotted import left_to_the_job

WSD_STYLES = ("linear", "cosine", "exponential", "minus_sqrt")


@dataclass(frozen=True)
class Schedule:
    """`lr_scheduler:` with what LRSchedulerConfig.build derives where it is not given; None: not known here."""

    style: str
    warmup: float | None
    decay: int | None
    init_lr: float | None
    max_lr: float | None
    min_lr: float | None
    wsd_steps: int | None
    wsd_style: str | None


def schedule(config: Mapping[str, Any]) -> Schedule | None:
    """The section `lr_scheduler:`; None where there is none, or a value is not known here."""
    section = config.get("lr_scheduler")
    if not isinstance(section, Mapping) or not section or left_to_the_job(section.get("lr_decay_style")):
        return None
    try:
        end = integer(config, MAX_STEPS, None)
        peak = number(config, MAX_LR)
        peak = number(config, LR) if peak is None else peak
        first, least = number(config, INIT_LR), number(config, MIN_LR)
        warmup, decay = number(config, WARMUP), integer(config, DECAY, end)
        wsd = integer(config, WSD_STEPS, None)
    except NotKnown:
        return None
    base = number(config, LR) if isinstance(loader.value(config, LR), int | float) else None
    return Schedule(
        style=str(section.get("lr_decay_style", "cosine")),
        warmup=warmup if warmup is not None else min(1000, end // 10) if end else None,
        decay=decay,
        init_lr=first if first is not None else base and base * 0.1,
        max_lr=peak,
        min_lr=least if least is not None else base and base * 0.01,
        wsd_steps=wsd,
        wsd_style=section.get("lr_wsd_decay_style"),
    )
