"""Sizes of published models, so that a hub id can be estimated where its config.json is not at hand.

From each repository's config.json, less what sizes do not depend on; published sizes never change. Tests compare the
parameters that follow with the published ones. Models that are not here are read from the cache, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LLAMA = {"model_type": "llama", "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256}
_LLAMA |= {"max_position_embeddings": 131072, "torch_dtype": "bfloat16"}
_LLAMA_1B = _LLAMA | {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
_LLAMA_8B = _LLAMA | {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
_MISTRAL_7B = _LLAMA_8B | {"model_type": "mistral", "vocab_size": 32768, "max_position_embeddings": 32768}

_QWEN3 = {"model_type": "qwen3", "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}
_QWEN3 |= {"torch_dtype": "bfloat16"}
_QWEN3_06B = _QWEN3 | {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "tie_word_embeddings": True,
}
_QWEN3_8B = _QWEN3 | {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
}
_QWEN3_30B = _QWEN3 | {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}
_LONG, _SHORT = {"max_position_embeddings": 40960}, {"max_position_embeddings": 32768}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "meta-llama/Llama-3.2-1B": _LLAMA_1B,
    "meta-llama/Llama-3.2-1B-Instruct": _LLAMA_1B,
    "meta-llama/Llama-3.1-8B": _LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "mistralai/Mistral-7B-v0.3": _MISTRAL_7B,
    "Qwen/Qwen3-0.6B": _QWEN3_06B | _LONG,
    "Qwen/Qwen3-0.6B-Base": _QWEN3_06B | _SHORT,
    "Qwen/Qwen3-8B": _QWEN3_8B | _LONG,
    "Qwen/Qwen3-8B-Base": _QWEN3_8B | _SHORT,
    "Qwen/Qwen3-30B-A3B": _QWEN3_30B | _LONG,
    "Qwen/Qwen3-30B-A3B-Base": _QWEN3_30B | _SHORT,
}
"""Hub id -> numbers, under config.json's names."""
