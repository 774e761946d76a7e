"""Names of Megatron-Bridge 0.3.1's config keys, and of those that recipes/pretrain_bridge.py has beside them."""

from __future__ import annotations

RECIPE, MODE, STEP_FUNC, HF_CONFIGS = "recipe", "mode", "step_func", "hf_configs"
OWN = (RECIPE, MODE, STEP_FUNC, HF_CONFIGS)
TARGET = "_target_"
MODES = ("pretrain", "finetune")
BLEND = f"{RECIPE}.per_split_data_args_path"

ITERS, SAMPLES = "train.train_iters", "train.train_samples"
GLOBAL_BATCH, MICRO_BATCH, RAMP_UP = "train.global_batch_size", "train.micro_batch_size", "train.rampup_batch_size"
EVAL_EVERY, EVAL_ITERS = "train.eval_interval", "train.eval_iters"
SIGNAL_HANDLER = "train.exit_signal_handler"

TP, PP, CP, EP, ETP = (
    f"model.{name}_parallel_size"
    for name in ("tensor_model", "pipeline_model", "context", "expert_model", "expert_tensor")
)
VIRTUAL = "model.virtual_pipeline_model_parallel_size"
SEQUENCE_PARALLEL, LAYOUT = "model.sequence_parallel", "model.pipeline_model_parallel_layout"
LAYERS, HIDDEN, HEADS, GROUPS, EXPERTS = (
    f"model.{name}"
    for name in ("num_layers", "hidden_size", "num_attention_heads", "num_query_groups", "num_moe_experts")
)
MODEL_LENGTH, DATA_LENGTH, DATA_LENGTH_TOO = "model.seq_length", "dataset.seq_length", "dataset.sequence_length"

WARMUP, WARMUP_FRACTION, DECAY, STYLE, WSD = (
    f"scheduler.lr_{name}"
    for name in ("warmup_iters", "warmup_fraction", "decay_iters", "decay_style", "wsd_decay_iters")
)
OWN_SCHEDULE, KEPT_SCHEDULE = (f"scheduler.{name}_opt_param_scheduler" for name in ("override", "use_checkpoint"))
LR, MIN_LR = "optimizer.lr", "optimizer.min_lr"

SAVE, LOAD, SAVE_EVERY, KEEP = (f"checkpoint.{name}" for name in ("save", "load", "save_interval", "most_recent_k"))
PRETRAINED, CKPT_FORMAT, ASYNC = (
    f"checkpoint.{name}" for name in ("pretrained_checkpoint", "ckpt_format", "async_save")
)
TOKENIZER, TOKENIZER_TYPE = "tokenizer.tokenizer_model", "tokenizer.tokenizer_type"
DATA_BLEND, DATA_SPLITS, INDEX = "dataset.blend", "dataset.blend_per_split", "dataset.path_to_cache"
PRECISION = "mixed_precision"
FT = "ft"

CADENCE = (SAVE_EVERY, KEEP, EVAL_EVERY, "logger.log_interval", "logger.tensorboard_log_interval")
POSITIVE = (
    ITERS,
    SAMPLES,
    GLOBAL_BATCH,
    MICRO_BATCH,
    TP,
    PP,
    CP,
    EP,
    ETP,
    MODEL_LENGTH,
    SAVE_EVERY,
    "logger.log_interval",
)
