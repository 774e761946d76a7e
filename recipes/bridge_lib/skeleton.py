"""A model of Hugging Face's without weights: config.json, and a safetensors file that is nothing but its header."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

_NAMES = {"torch.float32": ("F32", 4), "torch.bfloat16": ("BF16", 2), "torch.float16": ("F16", 2)}


def write(config: Any, directory: Path) -> None:
    """Write them. The file is as long as the weights would be and takes no space: nothing but its header is written.

    Format: https://github.com/huggingface/safetensors#format
    """
    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    dtype, size = _NAMES[str(config.torch_dtype or torch.float32)]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in model.state_dict().items():
        if name in tied:
            continue
        begin, end = end, end + size * math.prod(tensor.shape)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    config.save_pretrained(directory)
