"""`model:`, `optimizer:` and `loss_fn:` as far as sizes depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel.keys import AUTOCAST, MODEL, PRETRAINED, STRATEGY
from automodel_launch.config.dotted import get


@dataclass(frozen=True)
class ModelSection:
    """What `model:` says of the architecture: written numbers, a class that names the family, a place that has both."""

    key: str
    kind: str | None  # class name of the config, or of the builder
    written: Mapping[str, Any]
    place: str | None  # a directory or a hub id


def read(config: Mapping[str, Any]) -> ModelSection | None:
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


def place(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """(key, directory or hub id) of what the model, or its architecture, is loaded from."""
    for key in (f"{MODEL}.{PRETRAINED}", f"{MODEL}.config.{PRETRAINED}", f"{MODEL}.config"):
        value = get(config, key)
        if isinstance(value, str):
            return key, value
    return None


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


def is_fsdp2(config: Mapping[str, Any]) -> bool:
    """Of a single process on a GPU AutoModel 0.7.0 turns the model to bfloat16 under every other strategy."""
    return str(get(config, STRATEGY) or "fsdp2").lower() == "fsdp2"


def compute_precision(config: Mapping[str, Any], processes: int) -> str:
    """The type in which layers compute: autocast's where it is given, else under FSDP2 mp_policy's param_dtype.

    That is bfloat16 unless given, and does nothing for a single process, of which AutoModel 0.7.0 shards nothing
    (components/distributed/fsdp2.py).
    """
    autocast = get(config, AUTOCAST)
    sharded = processes > 1 and is_fsdp2(config)
    policy = (get(config, "distributed.mp_policy.param_dtype") or "bfloat16") if sharded else None
    return str(autocast or policy or precision(config) or "bfloat16").removeprefix("torch.")


def optimizer(config: Mapping[str, Any]) -> str:
    """Class name of the optimizer."""
    return str(get(config, "optimizer._target_") or "AdamW").rpartition(".")[2]


def chunked_loss(config: Mapping[str, Any]) -> bool:
    """The loss never holds the logits of all tokens (FusedLinearCrossEntropy, ChunkedCrossEntropy)."""
    name = str(get(config, "loss_fn._target_") or "").rpartition(".")[2]
    return "Linear" in name or "Chunked" in name
