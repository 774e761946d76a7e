"""Lets NeMo AutoModel 0.7.0 train on a machine without CUDA, over gloo. With CUDA it does nothing at all.

AutoModel supports GPUs only; three places of the pretraining path (set-up, model building, logging) ask for a CUDA
device without looking whether there is one. Everything else runs on a CPU as it stands: FSDP2 and DDP over gloo,
checkpoints, the export for transformers, validation.

Each patch below says why it is needed. tests/recipes/test_cpu_adapter.py holds, for each of them, a test that fails
when AutoModel no longer needs it, so that a newer release cannot leave dead patches behind.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch

SEEN_WITH = "0.7.0"
"""The release of nemo-automodel whose source was read and run for these patches."""

_BUILDERS = ("instantiate_infrastructure", "apply_model_infrastructure")
"""Functions that place the model on the device they are given."""

_BUILDERS_IMPORTED_BY = ("nemo_automodel._transformers.auto_model", "nemo_automodel.recipes.llm.train_ft")
"""Modules that import the builders by name, and pass them a CUDA device whether or not there is one."""


def apply(config: Any = None) -> list[str]:
    """Adapts AutoModel, and `config` where it is given, to a machine without CUDA.

    Args:
        config: AutoModel's ConfigNode of this run; settings that only a GPU can honour are changed in place.

    Returns:
        What was done, one phrase each, for the log; empty where CUDA is available, and then nothing was touched.
    """
    if torch.cuda.is_available():
        return []
    done = [*_patch_torch_cuda(), *_patch_model_builders()]
    if config is not None:
        done += _adapt_config(config)
    if config is None or not config.get("compile.enabled", False):
        done += _skip_compilation()
    return done


def _patch_torch_cuda() -> list[str]:
    """Makes the two calls of torch.cuda that AutoModel makes unconditionally harmless."""
    # 0.7.0: TrainFinetuneRecipeForNextTokenPrediction.setup() and log_train_metrics() reset the memory statistics
    # after every step. Without CUDA this raises; there are no statistics to reset.
    torch.cuda.reset_peak_memory_stats = _nothing
    # 0.7.0: from_config, from_pretrained and train_ft.build_model call current_device() to name the model's device.
    # The value is only ever used as the `device` argument that _patch_model_builders replaces.
    torch.cuda.current_device = _device_zero
    return ["torch.cuda.reset_peak_memory_stats does nothing", "torch.cuda.current_device is 0"]


def _nothing(device: Any = None) -> None:
    """Stands in for torch.cuda.reset_peak_memory_stats."""


def _device_zero() -> int:
    """Stands in for torch.cuda.current_device."""
    return 0


def _patch_model_builders() -> list[str]:
    """Puts the model on the CPU, whatever device the callers of the builders name."""
    # 0.7.0: both callers write torch.device("cuda", torch.cuda.current_device()) into the call, so that the argument
    # has to be replaced at the callee, under the name by which each module imported it.
    for module_name in _BUILDERS_IMPORTED_BY:
        module = importlib.import_module(module_name)
        for name in _BUILDERS:
            setattr(module, name, _on_cpu(getattr(module, name)))
    return ["models are built on the CPU"]


def _on_cpu(builder: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `builder` so that its keyword `device` is the CPU; wrapping it again changes nothing."""
    if getattr(builder, "_on_cpu", False):
        return builder

    @functools.wraps(builder)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return builder(*args, **kwargs)

    wrapper._on_cpu = True  # type: ignore[attr-defined]
    return wrapper


def _skip_compilation() -> list[str]:
    """Runs functions decorated with torch.compile as they are written."""
    # 0.7.0: RMSNorm is decorated with torch.compile whatever `compile.enabled` says. On a CPU the first step then
    # waits for a C++ compiler (36 s, cold, on two cores), and the later steps gain nothing that could be measured.
    torch.compiler.set_stance("force_eager")
    return ["torch.compile is skipped"]


def _adapt_config(config: Any) -> list[str]:
    """Changes the settings of `config` that cannot be honoured without CUDA, so that one file serves both."""
    done = []
    # 0.7.0: the recipe's default is nccl, which needs GPUs.
    if config.get("dist_env.backend", "nccl") == "nccl":
        config.set_by_dotted("dist_env.backend", "gloo")
        done.append("dist_env.backend is gloo instead of nccl")
    # 0.7.0: Checkpointer builds torch's DefaultStager, whose defaults (pinned memory, a CUDA stream) need a GPU.
    if config.get("checkpoint.is_async", False):
        config.set_by_dotted("checkpoint.is_async", False)
        done.append("checkpoint.is_async is false instead of true: checkpoints are written synchronously")
    return done
