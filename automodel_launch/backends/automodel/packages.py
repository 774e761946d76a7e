"""Packages beside AutoModel's own that a config needs, as AutoModel 0.7.0 imports them.

recipes/llm/train_ft.py builds the trackers; components/quantization/{qlora,fp8,qat}.py and components/loss/linear_ce.py
raise without theirs. flash-attn is not among them: AutoModel falls back to sdpa. Nor are those that a `_target_` names,
which AutoModel's own loader refuses, in a rehearsal too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends import Config, Need
from automodel_launch.config import dotted

_TRACKERS = {"wandb": Need("wandb", "wandb", "wandb"), "mlflow": Need("mlflow", "mlflow", "mlflow")}
_TRACKERS["comet"] = Need("comet_ml", "comet", "comet-ml")
_LOSS = "loss_fn._target_"
_CUT = "FusedLinearCrossEntropy"


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
