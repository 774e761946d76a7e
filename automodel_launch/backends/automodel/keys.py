"""What the launcher knows about AutoModel 0.7.0's config keys; no other module names one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends import Config, Reference
from automodel_launch.backends.automodel.schema import renamed
from automodel_launch.config.configs import flatten
from automodel_launch.config.dotted import get, left_to_the_job
from automodel_launch.plan.recipes import Recipe

MEGATRON_DATASET = "MegatronPretraining"
NANOGPT_DATASET = "NanogptDataset"
PRETRAINED = "pretrained_model_name_or_path"
DATASETS = ("dataset", "validation_dataset")
VALIDATION = "validation_dataset"  # every key that begins like this names one (RecipeConfig.validation_dataloaders)
SECTIONS = ("model", "distributed", "dataset", "loss_fn", "optimizer")
RECIPE = "TrainFinetuneRecipeForNextTokenPrediction"
_PACKAGE = re.compile(r"nemo[-_.]automodel(?![\w-])", re.IGNORECASE)


def trains(recipe: Recipe) -> bool:
    """The recipe trains with AutoModel, so its config is one of AutoModel's: its metadata block depends on it."""
    return any(is_automodel(entry) for entry in recipe.dependencies)


def is_automodel(requirement: str) -> bool:
    """A distribution's name, or a requirement, is AutoModel's."""
    return _PACKAGE.match(requirement) is not None


def recipe_class(config: Mapping[str, Any]) -> str:
    """Name of AutoModel's recipe class that the config asks for, under the name that it has now."""
    named = config.get("_step_recipe") or config.get("recipe") or RECIPE
    if isinstance(named, Mapping):
        named = named.get("_target_") or RECIPE
    bare = str(named).replace(":", ".").rpartition(".")[2]
    return renamed.RECIPES.get(bare, bare)


def built(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, mapping) of every mapping with a `_target_`, outer ones first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, value in node.items():
            yield from built(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from built(value, f"{key}.{number}")


def max_steps(config: Mapping[str, Any]) -> int | None:
    """Optimizer steps that the config asks for."""
    steps = get(config, "step_scheduler.max_steps")
    return steps if isinstance(steps, int) else None


def datasets(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(key, class name, section) of each dataset in the config."""
    for key in DATASETS:
        section = config.get(key)
        if isinstance(section, Mapping):
            yield key, str(section.get("_target_", "")).rpartition(".")[2], section


def data_paths(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of what names training data: Megatron's `paths`, nanoGPT's `file_pattern`."""
    for key, kind, section in datasets(config):
        leaf = {MEGATRON_DATASET: "paths", f"{MEGATRON_DATASET}Config": "paths", NANOGPT_DATASET: "file_pattern"}.get(
            kind.rpartition(":")[2]
        )
        if leaf and leaf in section:
            yield f"{key}.{leaf}", section[leaf]


def index_dirs(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(key, value) of where Megatron data keep their index; None: in PREFIX/cache, beside the data (gpt_dataset.py)."""
    for key, kind, section in datasets(config):
        if MEGATRON_DATASET in kind:
            yield f"{key}.index_mapping_dir", section.get("index_mapping_dir")


def aligns(config: Mapping[str, Any]) -> bool:
    """Sequences of nanoGPT data begin at BOS tokens, which .bos.idx files tell the places of."""
    return any(NANOGPT_DATASET in kind and section.get("align_to_bos") is True for _, kind, section in datasets(config))


def compiles(config: Mapping[str, Any]) -> bool:
    """Training needs a C++ compiler: MegatronPretraining builds its helper with torch's load_inline."""
    return any(MEGATRON_DATASET in kind for _, kind, _ in datasets(config))


def tokenizers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, directory or hub id) of each tokenizer: AutoModel's, and the `tokenizer:` of data preparation."""
    for key, value in flatten(config):
        parts = key.split(".")
        if isinstance(value, str) and (parts == ["tokenizer"] or parts[-2:] == ["tokenizer", PRETRAINED]):
            yield key, value


def data_tokenizers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of them that belong to a dataset."""
    return ((key, value) for key, value in tokenizers(config) if key.partition(".")[0] in DATASETS)


def references(config: Config) -> Iterator[Reference]:
    """Everything that the config names outside itself."""
    yield from (Reference("data", key, value) for key, value in data_paths(config))
    yield from (Reference("tokenizer", key, value) for key, value in tokenizers(config))
    place = model_place(config)
    if place:
        yield Reference("model", *place)
    yield from (Reference("output", key, path) for key, path in outputs(config))


def outputs(config: Config) -> Iterator[tuple[str, str]]:
    """(key, absolute path) of the directories that the training writes: its data's index, and checkpoints."""
    for key, path in (*index_dirs(config), (CHECKPOINT_DIR, checkpoint_dir(config))):
        if isinstance(path, str) and path.startswith("/") and not left_to_the_job(path):
            yield key, path


def checkpoint_dir(config: Mapping[str, Any]) -> str | None:
    """Where checkpoints go; None where they are switched off."""
    if get(config, "checkpoint.enabled") is False:
        return None
    folder = get(config, "checkpoint.checkpoint_dir")
    return folder if isinstance(folder, str) else None


# --- sizes and schedule


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


GLOBAL_BATCH, LOCAL_BATCH = "step_scheduler.global_batch_size", "step_scheduler.local_batch_size"
MAX_STEPS, NUM_EPOCHS = "step_scheduler.max_steps", "step_scheduler.num_epochs"
CKPT_EVERY, VAL_EVERY = "step_scheduler.ckpt_every_steps", "step_scheduler.val_every_steps"
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
MICROBATCH, LAYERS_PER_STAGE = f"{PIPELINE}.pp_microbatch_size", f"{PIPELINE}.layers_per_stage"
RECOMPUTE, DEFER = "distributed.activation_checkpointing", "distributed.defer_fsdp_grad_sync"
WARMUP, DECAY, STYLE = (f"lr_scheduler.lr_{name}" for name in ("warmup_steps", "decay_steps", "decay_style"))
MIN_LR, INIT_LR, LR = "lr_scheduler.min_lr", "lr_scheduler.init_lr", "optimizer.lr"
WSD_STEPS, WSD_STYLE = "lr_scheduler.wsd_decay_steps", "lr_scheduler.lr_wsd_decay_style"
TRAIN_SAMPLES = "dataset.num_train_samples"
KEEP_CHECKPOINTS, CHECKPOINT_DIR = "checkpoint.max_recent_checkpoints", "checkpoint.checkpoint_dir"
MODEL = "model"

PP_SCHEDULE = f"{PIPELINE}.pp_schedule"
# Names that torch.distributed.pipelining takes, in any case (schedules.py, get_schedule_class); the first group has one
# stage a rank, the second at least two. AutoModel's own documentation names others, like interleaved_1f1b.
ONE_STAGE = ("1F1B", "GPipe", "PipelineScheduleSingle")
MORE_STAGES = (
    *("Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV"),
    "PipelineScheduleMulti",
)
DECAY_STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
WSD_STYLES = ("linear", "cosine", "exponential", "minus_sqrt")
STRATEGIES = {"fsdp2": "fsdp2", "ddp": "ddp", **dict.fromkeys(("megatron_fsdp", "megatron-fsdp", "mfsdp"), "mfsdp")}
_FULL, _NONE = {"true", "on", "full", "enabled", "yes"}, {"false", "off", "none", "disabled", "no"}


def has_schedule(config: Mapping[str, Any]) -> bool:
    """The config has a schedule of AutoModel's to reckon with, whichever recipe reads it: unlike `trains`, also that
    of a user's own script that does not say what it depends on.
    """
    return isinstance(config.get("step_scheduler"), Mapping)


def _whole(config: Mapping[str, Any], key: str, default: int | None) -> int | None:
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


def mesh(config: Mapping[str, Any]) -> Mesh | None:
    """The section `distributed:`; None where one of its values is not known here."""
    section = config.get("distributed")
    section = section if isinstance(section, Mapping) else {}
    try:
        sizes = [_whole(config, key, 1) for key in (TP, CP, PP, EP, DP_REPLICATE)]
        data = _whole(config, DP, None)
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
            global_batch=_whole(config, GLOBAL_BATCH, 32) or 0,
            local_batch=_whole(config, LOCAL_BATCH, 1) or 0,
            max_steps=_whole(config, MAX_STEPS, None),
            ckpt_every=_whole(
                config, CKPT_EVERY, 100 if CKPT_EVERY.split(".")[1] not in config["step_scheduler"] else None
            ),
            val_every=_whole(config, VAL_EVERY, None),
        )
    except _NotKnown:
        return None


def schedule(config: Mapping[str, Any]) -> Schedule | None:
    """The section `lr_scheduler:`; None where there is none, or a value is not known here."""
    section = config.get("lr_scheduler")
    if not isinstance(section, Mapping) or not section or left_to_the_job(section.get("lr_decay_style")):
        return None
    try:
        end = _whole(config, MAX_STEPS, None)
        peak = _number(config, "lr_scheduler.max_lr")
        peak = _number(config, LR) if peak is None else peak
        first, least = _number(config, INIT_LR), _number(config, MIN_LR)
        warmup, decay = _number(config, WARMUP), _whole(config, DECAY, end)
        wsd = _whole(config, WSD_STEPS, None)
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


def sequence(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """(key, tokens) of a training sequence."""
    return next((found for found in sequences(config) if found[0].startswith("dataset.")), None)


def sequences(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(key, tokens) of a sequence of each dataset."""
    for key in DATASETS:
        for leaf in ("seq_length", "seq_len"):
            value = get(config, f"{key}.{leaf}")
            if isinstance(value, int) and not isinstance(value, bool):
                yield f"{key}.{leaf}", value


def endless(config: Mapping[str, Any]) -> bool:
    """The training data have no length: NanogptDataset begins anew for ever, so that only max_steps ends the run."""
    return any(key == "dataset" and NANOGPT_DATASET in kind for key, kind, _ in datasets(config))


def train_samples(config: Mapping[str, Any]) -> int | None:
    """`dataset.num_train_samples` of Megatron data."""
    value = get(config, TRAIN_SAMPLES)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def validates(config: Mapping[str, Any]) -> bool:
    """There is a validation data set; AutoModel takes every section whose name begins so."""
    return any(str(key).startswith("validation_dataset") and value for key, value in config.items())


def kept_checkpoints(config: Mapping[str, Any]) -> int | None:
    """How many recent checkpoints stay on disk; None: all of them."""
    value = get(config, KEEP_CHECKPOINTS)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def consolidates(config: Mapping[str, Any]) -> bool:
    """The last checkpoint also holds an export for transformers."""
    return get(config, "checkpoint.save_consolidated") is not False


def precision(config: Mapping[str, Any]) -> str | None:
    """The type in which the model's weights, and with them the optimizer's states, are stored; None: `auto`.

    NeMoAutoModelForCausalLM.from_config takes bfloat16 for `auto`, from_pretrained the checkpoint's own, and a model
    that is built by another function PyTorch's default.
    """
    section = config.get("model")
    section = section if isinstance(section, Mapping) else {}
    written = section.get("dtype") or section.get("torch_dtype")
    if written and str(written) != "auto":
        return str(written).removeprefix("torch.")
    target = str(section.get("_target_", ""))
    if target.endswith("from_pretrained"):
        return None
    return "bfloat16" if target.endswith("from_config") else "float32"


def compute_precision(config: Mapping[str, Any]) -> str:
    """The type in which layers compute: under FSDP2 mp_policy's param_dtype, bfloat16 unless given."""
    written = get(config, "distributed.mp_policy.param_dtype")
    strategy = get(config, STRATEGY) or "fsdp2"
    own = precision(config) or "bfloat16"
    return str(written or ("bfloat16" if str(strategy).lower() == "fsdp2" else own)).removeprefix("torch.")


def optimizer(config: Mapping[str, Any]) -> str:
    """Class name of the optimizer."""
    return str(get(config, "optimizer._target_") or "AdamW").rpartition(".")[2]


def chunked_loss(config: Mapping[str, Any]) -> bool:
    """The loss never holds the logits of all tokens (FusedLinearCrossEntropy, ChunkedCrossEntropy)."""
    name = str(get(config, "loss_fn._target_") or "").rpartition(".")[2]
    return "Linear" in name or "Chunked" in name


def model_place(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """(key, directory or hub id) of what the model, or its architecture, is loaded from."""
    for key in (f"{MODEL}.{PRETRAINED}", f"{MODEL}.config.{PRETRAINED}", f"{MODEL}.config"):
        value = get(config, key)
        if isinstance(value, str):
            return key, value
    return None


@dataclass(frozen=True)
class ModelSection:
    """What `model:` says of the architecture: written numbers, a class that names the family, a place that has both."""

    key: str
    kind: str | None  # class name of the config, or of the builder
    written: Mapping[str, Any]
    place: str | None  # a directory or a hub id


def model_section(config: Mapping[str, Any]) -> ModelSection | None:
    """The section `model:`; None where there is none."""
    section = config.get(MODEL)
    if not isinstance(section, Mapping):
        return None
    own = section.get("config")
    target = str(section.get("_target_", "")).rpartition(".")[2]
    if isinstance(own, Mapping):
        named = str(own.get("_target_", ""))
        place = own.get(PRETRAINED) or own.get("name_or_path")
        kind = None if named.endswith("from_pretrained") else named.rpartition(".")[2] or None
        return ModelSection(f"{MODEL}.config", kind, own, place if isinstance(place, str) else None)
    if isinstance(own, str):
        return ModelSection(f"{MODEL}.config", None, {}, own)
    if isinstance(section.get(PRETRAINED), str):
        return ModelSection(f"{MODEL}.{PRETRAINED}", None, {}, section[PRETRAINED])
    return ModelSection(MODEL, target or None, section, None)
