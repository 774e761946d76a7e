"""`distributed:` as a value: strategy and parallel sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel.keys import CP, DP, DP_REPLICATE, EP, PP, TP
from automodel_launch.backends.automodel.numbers import NotKnown, integer
from automodel_launch.backends.automodel.schema import kinds
from automodel_launch.config.dotted import left_to_the_job

# Names that torch.distributed.pipelining takes, in any case (schedules.py, get_schedule_class); the first group has one
# stage a rank, the second at least two. AutoModel's own documentation names others, like interleaved_1f1b.
ONE_STAGE = ("1F1B", "GPipe", "PipelineScheduleSingle")
MORE_STAGES = (
    *("Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV"),
    "PipelineScheduleMulti",
)
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


def mesh(config: Mapping[str, Any]) -> Mesh | None:
    """The section `distributed:`; None where one of its values is not known here."""
    section = config.get("distributed")
    section = {key: kinds.as_read(value) for key, value in section.items()} if isinstance(section, Mapping) else {}
    try:
        sizes = [integer(config, key, 1) for key in (TP, CP, PP, EP, DP_REPLICATE)]
        data = integer(config, DP, None)
    except NotKnown:
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
