"""Small configurations with one change each, and the data that they name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tests.recipes.pretrain_fixtures import ROOT, SMALL, write_data

ONE_LAYER: dict[str, Any] = {
    "model": {"config": {"num_hidden_layers": 1}}
}  # a case's time is that of the operations, which are fakes
NANO: dict[str, Any] = {
    "step_scheduler": {"max_steps": 4, "global_batch_size": 8, "local_batch_size": 2},
    "model": {"vocab_size": 300, "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 4},
    "dataset": {"seq_len": 32},
    "lr_scheduler": {"lr_warmup_steps": 1, "lr_decay_steps": 4},
}


@dataclass(frozen=True)
class Stage:
    """Where the data are."""

    data: Path

    def config(self, name: str = "tiny") -> dict[str, Any]:
        """configs/pretrain/NAME.yaml as the launcher resolves it, with a smaller model."""
        source = OmegaConf.load(ROOT / "configs" / "pretrain" / f"{name}.yaml")
        run = {"run": {"dir": "/jobs/run", "name": "run", "data_dir": str(self.data)}}
        small: list[dict[str, Any]] = {"tiny": [SMALL, ONE_LAYER], "nanogpt": [NANO]}[name]
        content: Any = OmegaConf.to_container(OmegaConf.merge(source, run, *small), resolve=True)
        del content["run"]
        return dict(content)

    def request(self, *changes: tuple[str, Any], name: str = "tiny", **fields: Any) -> dict[str, Any]:
        """A request whose overrides are these keys with these values; None takes a key away."""
        base = self.config(name)
        config = copy.deepcopy(base)
        for key, value in changes:
            put(config, key, value)
        overrides = [f"{key}={value}" for key, value in changes]
        return {"config": config, "base": base, "overrides": overrides, **DEFAULTS, **fields}


DEFAULTS: Mapping[str, Any] = {"world_size": 2, "processes_per_node": 2, "cuda": False, "seconds": 100}


def share(folder: Path) -> Stage:
    """Write the data."""
    write_data(folder)
    return Stage(folder)


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key."""
    *above, last = key.split(".")
    for part in above:
        config = config.setdefault(part, {})
    if value is None:
        config.pop(last, None)
    else:
        config[last] = value


def model(config: str, architecture: str, **more: Any) -> dict[str, Any]:
    """`model` with another class, small."""
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    return {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_config",
        "torch_dtype": "float32",
        "attn_implementation": "sdpa",
        "config": {
            "_target_": f"transformers.{config}", "architectures": [architecture], **sizes, **heads, **more
        },
    }  # fmt: skip
