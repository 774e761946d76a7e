"""`distributed:`, `step_scheduler:` and `lr_scheduler:` as values, with AutoModel's defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel.keys import (
    CKPT_EVERY,
    CP,
    DECAY,
    DP,
    DP_REPLICATE,
    EP,
    GLOBAL_BATCH,
    INIT_LR,
    LOCAL_BATCH,
    LR,
    MAX_STEPS,
    MIN_LR,
    PP,
    TP,
    VAL_EVERY,
    WARMUP,
    WSD_STEPS,
)
from automodel_launch.config.dotted import get, left_to_the_job

# Names that torch.distributed.pipelining takes, in any case (schedules.py, get_schedule_class); the first group has one
# stage a rank, the second at least two. AutoModel's own documentation names others, like interleaved_1f1b.
ONE_STAGE = ("1F1B", "GPipe", "PipelineScheduleSingle")
MORE_STAGES = (
    *("Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV"),
    "PipelineScheduleMulti",
)
WSD_STYLES = ("linear", "cosine", "exponential", "minus_sqrt")
STRATEGIES = {"fsdp2": "fsdp2", "ddp": "ddp", **dict.fromkeys(("megatron_fsdp", "megatron-fsdp", "mfsdp"), "mfsdp")}
_FULL = {"true", "on", "full", "enabled", "yes"}


@dataclass(frozen=True)
class Mesh:
    """`distributed:` as AutoModel reads it: a size that is missing, null or below 1 counts as 1 (mesh_utils._degree).

    `dp_size` is None where AutoModel derives it, `pipeline` where the section is missing.
    """

    strategy: str
    tp_size: int
    cp_size: int
    pp_size: int
    ep_size: int
    dp_size: int | None
    dp_replicate_size: int
    pipeline: Mapping[str, Any] | None
    sequence_parallel: bool
    recompute: str  # activation checkpointing: "none", "selective" or "full"
    reshard_after_forward: bool | None
    defer_gradients: bool  # unsharded gradients are kept until the last micro-batch of a step


@dataclass(frozen=True)
class Steps:
    """`step_scheduler:`; None where a key is missing or null, with StepSchedulerConfig's defaults filled in."""

    global_batch: int
    local_batch: int
    max_steps: int | None
    ckpt_every: int | None
    val_every: int | None


@dataclass(frozen=True)
class Schedule:
    """`lr_scheduler:` with what LRSchedulerConfig.build derives where it is not given; None: cannot be told."""

    style: str
    warmup: float | None
    decay: int | None
    init_lr: float | None
    max_lr: float | None
    min_lr: float | None
    wsd_steps: int | None
    wsd_style: str | None


def has_schedule(config: Mapping[str, Any]) -> bool:
    """The config has a schedule of AutoModel's to reckon with, whichever recipe reads it: unlike `trains`, also that
    of a user's own script that does not say what it depends on.
    """
    return isinstance(config.get("step_scheduler"), Mapping)


def max_steps(config: Mapping[str, Any]) -> int | None:
    """Optimizer steps that the config asks for."""
    steps = get(config, "step_scheduler.max_steps")
    return steps if isinstance(steps, int) else None


def mesh(config: Mapping[str, Any]) -> Mesh | None:
    """The section `distributed:`; None where one of its values is not known here."""
    section = config.get("distributed")
    section = section if isinstance(section, Mapping) else {}
    try:
        sizes = [_integer(config, key, 1) for key in (TP, CP, PP, EP, DP_REPLICATE)]
        data = _integer(config, DP, None)
    except _NotKnown:
        return None
    if any(left_to_the_job(section.get(key)) for key in ("strategy", "activation_checkpointing", "pipeline")):
        return None
    tensor, context, pipeline, expert, replicate = (max(1, size or 1) for size in sizes)
    stages, recompute = section.get("pipeline"), str(section.get("activation_checkpointing")).lower()
    return Mesh(
        strategy=str(section.get("strategy") or "fsdp2").lower(),
        tp_size=tensor,
        cp_size=context,
        pp_size=pipeline,
        ep_size=expert,
        dp_size=data if data and data > 0 else None,
        dp_replicate_size=replicate,
        pipeline=stages if isinstance(stages, Mapping) else None,
        sequence_parallel=section.get("sequence_parallel") is True,
        recompute="full" if recompute in _FULL else "selective" if recompute == "selective" else "none",
        reshard_after_forward=section.get("reshard_after_forward"),
        defer_gradients=section.get("defer_fsdp_grad_sync") is not False,
    )


def steps(config: Mapping[str, Any]) -> Steps | None:
    """The section `step_scheduler:`; None where there is none, or a value is not known here."""
    if not has_schedule(config):
        return None
    try:
        return Steps(
            global_batch=_integer(config, GLOBAL_BATCH, 32) or 0,
            local_batch=_integer(config, LOCAL_BATCH, 1) or 0,
            max_steps=_integer(config, MAX_STEPS, None),
            ckpt_every=_integer(
                config, CKPT_EVERY, 100 if CKPT_EVERY.split(".")[1] not in config["step_scheduler"] else None
            ),
            val_every=_integer(config, VAL_EVERY, None),
        )
    except _NotKnown:
        return None


def schedule(config: Mapping[str, Any]) -> Schedule | None:
    """The section `lr_scheduler:`; None where there is none, or a value is not known here."""
    section = config.get("lr_scheduler")
    if not isinstance(section, Mapping) or not section or left_to_the_job(section.get("lr_decay_style")):
        return None
    try:
        end = _integer(config, MAX_STEPS, None)
        peak = _number(config, "lr_scheduler.max_lr")
        peak = _number(config, LR) if peak is None else peak
        first, least = _number(config, INIT_LR), _number(config, MIN_LR)
        warmup, decay = _number(config, WARMUP), _integer(config, DECAY, end)
        wsd = _integer(config, WSD_STEPS, None)
    except _NotKnown:
        return None
    base = _number(config, LR) if isinstance(get(config, LR), int | float) else None
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


def _integer(config: Mapping[str, Any], key: str, default: int | None) -> int | None:
    value = get(config, key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise _NotKnown
    return value


def _number(config: Mapping[str, Any], key: str) -> float | None:
    value = get(config, key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NotKnown
    return float(value)


class _NotKnown(Exception):
    """The value is one that only the job has, or of a wrong type, which is another check's finding."""
