"""Hugging Face's weights -> a checkpoint in Megatron's format, without the optimizer."""

from __future__ import annotations

from pathlib import Path

from pretrain_lib.config import ConfigError, one_line
from pretrain_lib.output import say

from . import cpu, hf_configs
from .conversion import Conversion


def write(conversion: Conversion, directory: Path) -> None:
    """Write the checkpoint: iter_0000000 and its trackers.

    Raises:
        ConfigError: the model is not there, or Megatron-Bridge has no bridge for it.
    """
    import torch
    from megatron.bridge import AutoBridge
    from megatron.bridge.training.model_load_save import temporary_distributed_context

    hf_configs.install({})
    dtype = getattr(torch, conversion.dtype) if conversion.dtype else "auto"
    try:
        bridge = AutoBridge.from_hf_pretrained(
            conversion.source, torch_dtype=dtype, trust_remote_code=conversion.trust_remote_code
        )
    except (ValueError, OSError) as error:
        raise ConfigError(f"source={conversion.source}: {one_line(error)}") from error
    with temporary_distributed_context(backend="gloo"):
        provider = bridge.to_megatron_provider(load_weights=True)
        if conversion.dtype:
            provider.params_dtype = dtype
        cpu.adapt_model(provider, keep_dtype=True)
        provider.finalize()
        say(f"loading {conversion.source}")
        model = provider.provide_distributed_model(wrap_with_ddp=False, use_cpu_initialization=True)
        bridge.save_megatron_model(model, str(directory), hf_tokenizer_path=conversion.source)
