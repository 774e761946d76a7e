"""Packages beside AutoModel's own that a config needs, as AutoModel 0.7.0 imports them.

recipes/llm/train_ft.py builds the trackers; components/quantization/{qlora,fp8,qat}.py and components/loss/linear_ce.py
raise without theirs. flash-attn is not among them: AutoModel falls back to sdpa.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends import Config, Need
from automodel_launch.backends.automodel import loader
from automodel_launch.config import dotted

_TRACKERS = {"wandb": Need("wandb", "wandb", "wandb"), "mlflow": Need("mlflow", "mlflow", "mlflow")}
_TRACKERS["comet"] = Need("comet_ml", "comet", "comet-ml")
_LOSS = "loss_fn._target_"
_CUT = "FusedLinearCrossEntropy"
# What comes with AutoModel, and what a config's checks know better.
_THERE = frozenset(("nemo_automodel", "torch", "transformers", "torchdata", "datasets", "builtins", "megatron_fsdp"))


def needed(config: Config) -> Iterator[Need]:
    """Each package once, with the key that asks for it."""
    for key, need in _TRACKERS.items():
        section = config.get(key)
        if isinstance(section, Mapping) and section and section.get("enable") is not False:
            yield need
    if isinstance(config.get("quantization"), Mapping) and config["quantization"]:
        yield Need("bitsandbytes", "quantization", "bitsandbytes")
    if dotted.get(config, "fp8.enabled") is True:
        yield Need("torchao", "fp8.enabled", "torchao")
    loss = dotted.get(config, _LOSS)
    if isinstance(loss, str) and loss.endswith(f".{_CUT}"):
        yield Need("cut_cross_entropy", _LOSS, "cut-cross-entropy")
    yield from _targets(config)


def _targets(config: Config) -> Iterator[Need]:
    """Dotted paths into other packages, which AutoModel imports when it loads the config."""
    seen = set(_THERE)
    for key, section in loader.built(config):
        target = section.get("_target_")
        if isinstance(target, str) and "." in target and not {":", "$", "/"} & set(target):
            top = target.partition(".")[0]
            if top.isidentifier() and top not in seen:
                seen.add(top)
                yield Need(top, f"{key}._target_" if key else "_target_", None)
