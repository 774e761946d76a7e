"""What the launcher knows about AutoModel 0.7.0's config keys; no other module names one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.configs import flatten

MEGATRON_DATASET = "MegatronPretraining"
NANOGPT_DATASET = "NanogptDataset"
PRETRAINED = "pretrained_model_name_or_path"
DATASETS = ("dataset", "validation_dataset")

# Wrong types in these end the job only after the model is loaded (components/training/step_scheduler.py,
# recipes/_typed_config.py).
WHOLE_NUMBERS = (
    "seed",
    "step_scheduler.global_batch_size",
    "step_scheduler.local_batch_size",
    "step_scheduler.max_steps",
    "step_scheduler.num_epochs",
    "step_scheduler.ckpt_every_steps",
    "step_scheduler.val_every_steps",
    "distributed.tp_size",
    "distributed.cp_size",
    "distributed.pp_size",
    "distributed.ep_size",
    "dataset.seq_length",
    "dataset.seq_len",
)
NUMBERS = ("optimizer.lr", "optimizer.weight_decay", "optimizer.eps", "lr_scheduler.min_lr", "clip_grad_norm.max_norm")


def get(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, or None."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


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


def checkpoint_dir(config: Mapping[str, Any]) -> str | None:
    """Where checkpoints go; None where they are switched off."""
    if get(config, "checkpoint.enabled") is False:
        return None
    folder = get(config, "checkpoint.checkpoint_dir")
    return folder if isinstance(folder, str) else None
