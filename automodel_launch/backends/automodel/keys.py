"""Names of AutoModel 0.7.0's config keys."""

from __future__ import annotations

PRETRAINED = "pretrained_model_name_or_path"
SECTIONS = ("model", "distributed", "dataset", "loss_fn", "optimizer")  # set-up stops without them
MODEL = "model"
TEACHER = f"teacher_model.{PRETRAINED}"
VALIDATION = "validation_dataset"  # every key that starts like this names one (RecipeConfig.validation_dataloaders)
TRAIN_SAMPLES = "dataset.num_train_samples"

GLOBAL_BATCH, LOCAL_BATCH = "step_scheduler.global_batch_size", "step_scheduler.local_batch_size"
MAX_STEPS, NUM_EPOCHS = "step_scheduler.max_steps", "step_scheduler.num_epochs"
CKPT_EVERY, VAL_EVERY = "step_scheduler.ckpt_every_steps", "step_scheduler.val_every_steps"
CADENCE = (  # beside these; nothing that is learnt depends on them
    CKPT_EVERY,
    VAL_EVERY,
    "step_scheduler.save_checkpoint_every_epoch",
    "step_scheduler.validate_on_checkpoint",
    "step_scheduler.log_remote_every_steps",
    "step_scheduler.loss_average_window_steps",
    "step_scheduler.gc_every_steps",
    "checkpoint.max_recent_checkpoints",
)
POSITIVE = (
    GLOBAL_BATCH,
    LOCAL_BATCH,
    MAX_STEPS,
    NUM_EPOCHS,
    CKPT_EVERY,
    VAL_EVERY,
    "step_scheduler.gc_every_steps",
    "step_scheduler.log_remote_every_steps",
)

STRATEGY, PIPELINE = "distributed.strategy", "distributed.pipeline"
TP, CP, PP, EP = (f"distributed.{name}_size" for name in ("tp", "cp", "pp", "ep"))
DP, DP_REPLICATE = "distributed.dp_size", "distributed.dp_replicate_size"
PP_SCHEDULE = f"{PIPELINE}.pp_schedule"
MICROBATCH, LAYERS_PER_STAGE = f"{PIPELINE}.pp_microbatch_size", f"{PIPELINE}.layers_per_stage"
PACKED = "packed_sequence.packed_sequence_size"  # tokens of a row that conversations are packed into
RECOMPUTE, DEFER = "distributed.activation_checkpointing", "distributed.defer_fsdp_grad_sync"
AUTOCAST, COMPILE = "distributed.autocast_dtype", "compile.enabled"

WARMUP, DECAY, STYLE = (f"lr_scheduler.lr_{name}" for name in ("warmup_steps", "decay_steps", "decay_style"))
MIN_LR, INIT_LR, MAX_LR, LR = "lr_scheduler.min_lr", "lr_scheduler.init_lr", "lr_scheduler.max_lr", "optimizer.lr"
MAX_NORM = "clip_grad_norm.max_norm"
OWN_SCHEDULE = "lr_scheduler.override_opt_param_scheduler"
WSD_STEPS, WSD_STYLE = "lr_scheduler.wsd_decay_steps", "lr_scheduler.lr_wsd_decay_style"

ASYNC_SAVE = "checkpoint.is_async"
RESTORE = "checkpoint.restore_from"
KEEP_CHECKPOINTS, CHECKPOINT_DIR = "checkpoint.max_recent_checkpoints", "checkpoint.checkpoint_dir"
