"""Of a run's config the one with which recipes/evaluate.py tells a checkpoint's loss on the run's held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends import Config
from automodel_launch.backends.automodel.keys import CKPT_EVERY, GLOBAL_BATCH, LOCAL_BATCH, VALIDATION
from automodel_launch.config.dotted import get
from automodel_launch.errors import ConfigError
from automodel_launch.frozen import thaw

RECIPE = "evaluate"  # recipes/evaluate.py, which sets a training up and takes no step
_DROPPED = ("lr_scheduler", "domain_mixture", "wandb", "mlflow", "comet", "packed_sequence")  # training's, and trackers
_INDEX = "index_mapping_dir"


def of(config: Config, checkpoint: str) -> dict[str, Any]:
    """The model, its parallel sizes and the held-out data stay; the training data, which are not read, do not.

    Raises:
        ConfigError: it has no held-out data.
    """
    held_out = [key for key in config if str(key).startswith(VALIDATION) and isinstance(config[key], Mapping)]
    if not held_out:
        raise ConfigError(
            f"the run has no {VALIDATION}, so it is not known on what its checkpoints are to be evaluated.",
            "the next launch of such a run with a section validation_dataset; or `python launch.py evaluate -c FILE`",
        )
    made: dict[str, Any] = {key: thaw(value) for key, value in config.items() if key not in _DROPPED}
    for key in held_out:
        if _INDEX in made[key]:  # not the run's own, which may be gone, or another user's
            made[key][_INDEX] = f"${{run.dir}}/index/{key}"
    tokenizer = get(config, "dataset.tokenizer")
    made["dataset"] = {**made[held_out[0]], **({"tokenizer": thaw(tokenizer)} if tokenizer else {})}
    steps = {key.rpartition(".")[2]: get(config, key) for key in (GLOBAL_BATCH, LOCAL_BATCH) if get(config, key)}
    # no step is taken; unset, it would be 0 where the held-out data have no whole batch, which AutoModel 0.7.0 refuses
    made["step_scheduler"] = {**steps, CKPT_EVERY.rpartition(".")[2]: 1, "max_steps": 1}
    kept = thaw(config.get("checkpoint")) or {}
    made["checkpoint"] = {
        **kept, "enabled": True, "checkpoint_dir": "${run.dir}/checkpoints", "restore_from": checkpoint
    }  # fmt: skip
    return made
