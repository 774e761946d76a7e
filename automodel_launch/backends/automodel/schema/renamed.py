"""Keys that older guides of AutoModel use and 0.7.0 no longer has, with what took their place. Written by hand.

Each was checked against the source of 0.7.0; tests/backends/automodel/test_schema_renamed.py does it again with an
installed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Renamed:
    """`does` is what 0.7.0 does with the key, after the words "AutoModel 0.7.0"."""

    key: str
    does: str
    fix: str
    level: Literal["error", "warning"] = "error"


_REFUSES = "has no such key, and stops at it once the model is loaded"
_IGNORES = "ignores it without a message"

RENAMED = (
    Renamed("step_scheduler.val_check_interval", _REFUSES, "step_scheduler.val_every_steps"),
    Renamed("step_scheduler.checkpoint_interval", _REFUSES, "step_scheduler.ckpt_every_steps"),
    Renamed(
        "step_scheduler.grad_accumulation_steps",
        _REFUSES,
        "leave it out: it follows from global_batch_size / (local_batch_size * data-parallel ranks)",
    ),
    Renamed("restore_from", f"{_IGNORES}, and starts a new run", "checkpoint.restore_from"),
    Renamed("load_weights", _IGNORES, "model._target_: ...from_pretrained loads weights, ...from_config does not"),
    Renamed("rng", f"{_IGNORES} and takes the top-level seed (42 where there is none)", "seed", "warning"),
    Renamed("tokenizer", f"{_IGNORES} at the top level", "dataset.tokenizer", "warning"),
    Renamed("autopipeline", _IGNORES, "distributed.pipeline, with distributed.pp_size", "warning"),
    Renamed("parallelizer", _IGNORES, "distributed, with distributed.moe for experts", "warning"),
    Renamed("distributed_config", _IGNORES, "distributed", "warning"),
    Renamed("autocast", _IGNORES, "distributed.autocast_dtype", "warning"),
    Renamed("dataset.trainer_max_steps", _REFUSES, "leave it out: it follows from step_scheduler.max_steps"),
    Renamed("validation_dataset.trainer_max_steps", _REFUSES, "leave it out: it follows from step_scheduler.max_steps"),
    Renamed("wandb.save_dir", "hands it to wandb.init, which has no such keyword", "wandb.dir"),
    Renamed(
        "lr_scheduler._target_",
        f"{_IGNORES}: it has one scheduler",
        "leave it out, and describe the schedule by lr_decay_style, lr_warmup_steps, lr_decay_steps and min_lr",
        "warning",
    ),
    Renamed("packed_sequence.split_across_pack", _IGNORES, "leave it out", "warning"),
)
KEYS = {old.key for old in RENAMED}

STRATEGIES = {"FSDP2Manager": "fsdp2", "DDPManager": "ddp", "MegatronFSDPManager": "megatron_fsdp"}
"""Classes that `distributed._target_` named, and the `distributed.strategy` that took their place."""

UNREAD = {"ci"}
"""Sections of AutoModel's own examples that are for its tests, and that no training reads: nothing is said of them."""

RECIPES = {"TrainPretrainRecipeForNextTokenPrediction": "TrainFinetuneRecipeForNextTokenPrediction"}
"""Recipe classes that recipes/pretrain.py accepts under their old name."""
