"""What AutoModel 0.7.0 needs of its surroundings: ninja, a CPU in place of GPUs, metrics written at once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from .output import say


def put_ninja_on_path() -> None:
    """Lets AutoModel's index builder find the `ninja` that was installed beside this Python.

    MegatronPretraining compiles its helper with torch's load_inline, which wants the command `ninja` on PATH; in a
    virtual environment that is used without being activated it is not.
    """
    beside = str(Path(sys.executable).parent)
    if shutil.which("ninja") is None and shutil.which("ninja", path=beside):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])


def adapt_to_cpu(config: Any) -> None:
    """Lets AutoModel run without CUDA, and says on rank 0 what that took; does nothing with CUDA."""
    import cpu_adapter

    done = cpu_adapter.apply(config)
    if done:
        say("no CUDA: running on the CPU; " + "; ".join(done))


def compute_in_autocast(recipe: Any) -> None:
    """Has the model's forward pass computed in `distributed.autocast_dtype`, where that is given.

    AutoModel 0.7.0 documents the key as that (components/distributed/config.py), but of its recipes only those that
    classify and retrieve read it (base_recipe.py, _autocast_context): in pretraining it had no effect. It is the way to
    bfloat16 for one process and for DDP, of which AutoModel shards nothing, so that FSDP2's mp_policy is not applied.
    The backward pass has the types of the forward pass; the loss is computed in those of the model's outputs.
    """
    dtype = getattr(getattr(recipe, "distributed_config", None), "autocast_dtype", None)
    parts = getattr(recipe, "model_parts", None)  # a recipe class may keep its model elsewhere
    if dtype is None or not parts:
        return
    import torch

    for part in parts:
        device = next(part.parameters()).device.type
        part.forward = torch.autocast(device, dtype)(part.forward)
    say(f"layers compute in {str(dtype).removeprefix('torch.')} (distributed.autocast_dtype)")


def write_metrics_at_once(recipe: Any) -> None:
    """Has training.jsonl and validation.jsonl written record by record.

    AutoModel collects 100 records before it writes any, so that a killed run loses them and nobody can follow one.
    The loggers hold nothing yet: set-up has just made them. A recipe class without them is left as it is.
    """
    from nemo_automodel.components.loggers.metric_logger import MetricLogger, build_metric_logger

    def at_once(logger: MetricLogger) -> MetricLogger:
        logger.close()
        return build_metric_logger(logger.filepath, flush=True, buffer_size=1)

    train_logger = getattr(recipe, "metric_logger_train", None)
    if isinstance(train_logger, MetricLogger):
        recipe.metric_logger_train = at_once(train_logger)
    valid_loggers = getattr(recipe, "metric_logger_valid", None)
    if isinstance(valid_loggers, dict):
        recipe.metric_logger_valid = {name: at_once(logger) for name, logger in valid_loggers.items()}
