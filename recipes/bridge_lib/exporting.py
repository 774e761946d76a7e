"""A checkpoint in Megatron's format -> safetensors that transformers loads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from pretrain_lib.config import ConfigError, one_line
from pretrain_lib.output import say

from . import skeleton
from .conversion import Conversion


def write(conversion: Conversion, directory: Path) -> None:
    """Write config.json, the weights and the tokenizer.

    Megatron-Bridge exports along a model of Hugging Face's: its names of tensors, its files. Where there is none, a
    skeleton takes its place, with the names and shapes that transformers gives such a model, and no weights.

    Raises:
        ConfigError: the model's configuration cannot be used, or does not fit the checkpoint.
    """
    from megatron.bridge import AutoBridge
    from megatron.bridge.training.model_load_save import temporary_distributed_context

    with tempfile.TemporaryDirectory(prefix="hf-skeleton-") as scratch:
        config = _configuration(conversion)
        if conversion.dtype:
            config.torch_dtype = conversion.dtype
        skeleton.write(config, Path(scratch))
        _copy_tokenizer(conversion, Path(scratch))
        try:
            bridge = AutoBridge.from_hf_pretrained(scratch, trust_remote_code=conversion.trust_remote_code)
        except ValueError as error:
            raise ConfigError(f"hf: {one_line(error)}") from error
        say(f"exporting {conversion.source}")
        with temporary_distributed_context(backend="gloo"):
            model = bridge.load_megatron_model(conversion.source, wrap_with_ddp=False)
            _cast(model, conversion.dtype)
            try:
                bridge.save_hf_pretrained(model, str(directory), show_progress=False, strict=True)
            except (KeyError, ValueError) as error:
                raise ConfigError(
                    f"hf: the model's configuration does not fit the checkpoint: {one_line(error)}"
                ) from error
        config.save_pretrained(directory)


def _configuration(conversion: Conversion) -> Any:
    import transformers

    if isinstance(conversion.hf, str):
        try:
            return transformers.AutoConfig.from_pretrained(
                conversion.hf, trust_remote_code=conversion.trust_remote_code
            )
        except (ValueError, OSError) as error:
            raise ConfigError(f"hf={conversion.hf}: {one_line(error)}") from error
    content = dict(conversion.hf or {})
    try:
        return transformers.AutoConfig.for_model(content.pop("model_type"), **content)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"hf: no configuration of a model that transformers knows: {one_line(error)}") from error


def _copy_tokenizer(conversion: Conversion, scratch: Path) -> None:
    """The checkpoint's own where it has one: the model was trained with it."""
    own = Path(conversion.source, "tokenizer")
    if own.is_dir():
        shutil.copytree(own, scratch, dirs_exist_ok=True)
        return
    import transformers

    try:
        transformers.AutoTokenizer.from_pretrained(conversion.hf).save_pretrained(scratch)
    except (ValueError, OSError, TypeError, KeyError) as error:
        say(f"no tokenizer is written: the checkpoint has none, and hf gives none: {one_line(error)}")


def _cast(model: list[Any], dtype: str | None) -> None:
    import torch

    for part in model:
        if dtype:
            part.to(getattr(torch, dtype))
