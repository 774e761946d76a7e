"""How many parameters a model has, counted from its numbers; tests compare each family with transformers itself."""

from __future__ import annotations

from dataclasses import dataclass

from automodel_launch.backends.automodel.model.shape import Shape

_QKV_BIAS, QK_NORM = {"qwen2"}, {"qwen3", "qwen3_moe", "gemma3_text"}
_NORMS = {"gemma3_text": 4}  # of a layer: Gemma 3 has them behind attention and MLP as well
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "gemma3_text", "gpt2")


@dataclass(frozen=True)
class Parameters:
    """Counts over the complete model.

    Attributes:
        embedding, head: input and output embedding; the head is 0 where it shares the embedding's weights.
        layers: everything in the layers but the routed experts.
        experts: all routed experts of all layers.
    """

    embedding: int
    head: int
    layers: int
    experts: int
    number_of_layers: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embedding + self.head + self.layers + self.experts


def count(shape: Shape) -> Parameters | None:
    """The counts; None for a family that is not in FAMILIES, or where a number is missing."""
    try:
        return _gpt2(shape) if shape.family == "gpt2" else _decoder(shape) if shape.family in FAMILIES else None
    except _Missing:
        return None


class _Missing(Exception):
    pass


def _need(shape: Shape, name: str) -> int:
    value = shape.get(name)
    if value is None:
        raise _Missing(name)
    return value


def _gpt2(shape: Shape) -> Parameters:
    """Two LayerNorms with bias, fused qkv and an MLP of four times the width, all with bias; learned positions."""
    h, layers = _need(shape, "hidden_size"), _need(shape, "num_hidden_layers")
    inner = shape.get("n_inner") or 4 * h
    layer = 4 * h + (4 * h * h + 4 * h) + (2 * h * inner + inner + h)
    embedding = (_need(shape, "vocab_size") + _need(shape, "max_position_embeddings")) * h
    head = 0 if shape.tied else _need(shape, "vocab_size") * h
    return Parameters(embedding, head, layers * layer + 2 * h, 0, layers)


def _decoder(shape: Shape) -> Parameters:
    """RMSNorm, gated MLP or experts, rotary positions: Llama's form, and those that vary it."""
    h, layers = _need(shape, "hidden_size"), _need(shape, "num_hidden_layers")
    sparse = sparse_layers(shape)
    attention = _latent_attention(shape, h) if shape.get("kv_lora_rank") else _attention(shape, h)
    dense = (layers - sparse) * _mlp(shape, h) if layers > sparse else 0
    router, experts = _experts(shape, h) if sparse else (0, 0)
    embedding = _need(shape, "vocab_size") * h
    other = layers * (attention + norms_of_layer(shape) * h) + dense + sparse * router + h
    return Parameters(embedding, 0 if shape.tied else embedding, other, sparse * experts, layers)


def norms_of_layer(shape: Shape) -> int:
    """Norms of a layer's whole width."""
    return _NORMS.get(shape.family, 2)


def sparse_layers(shape: Shape) -> int:
    """Layers that have experts."""
    layers = shape.get("num_hidden_layers") or 0
    if not shape.experts:
        return 0
    if shape.family == "deepseek_v3":
        return layers - (shape.get("first_k_dense_replace") or 0)
    every = shape.get("decoder_sparse_step") or 1
    only = shape.numbers.get("mlp_only_layers") or ()
    return sum(1 for layer in range(layers) if layer not in only and (layer + 1) % every == 0)


def _attention(shape: Shape, h: int) -> int:
    if shape.kv_heads is None or shape.head_dim is None:
        raise _Missing("num_key_value_heads")
    q, kv = _need(shape, "num_attention_heads") * shape.head_dim, shape.kv_heads * shape.head_dim
    biased = shape.numbers.get("attention_bias") is True and shape.family in ("llama", "qwen3", "qwen3_moe")
    bias = q + 2 * kv if shape.family in _QKV_BIAS else q + 2 * kv + h if biased else 0
    return 2 * h * q + 2 * h * kv + bias + (2 * shape.head_dim if shape.family in QK_NORM else 0)


def _latent_attention(shape: Shape, h: int) -> int:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    heads, kv_rank, q_rank = _need(shape, "num_attention_heads"), _need(shape, "kv_lora_rank"), shape.get("q_lora_rank")
    nope, rope, v = (_need(shape, f"{name}_head_dim") for name in ("qk_nope", "qk_rope", "v"))
    q = heads * (nope + rope)
    queries = h * q_rank + q_rank + q_rank * q if q_rank else h * q
    return queries + h * (kv_rank + rope) + kv_rank + kv_rank * heads * (nope + v) + heads * v * h


def _mlp(shape: Shape, h: int) -> int:
    inner = _need(shape, "intermediate_size")
    return 3 * h * inner + (2 * inner + h if shape.numbers.get("mlp_bias") is True else 0)


def expert_width(shape: Shape) -> int:
    """Inner width of one expert."""
    return shape.get("moe_intermediate_size") or shape.get("intermediate_size") or 0


def _experts(shape: Shape, h: int) -> tuple[int, int]:
    """(router and shared experts, routed experts) of a layer."""
    width = expert_width(shape)
    if not width:
        raise _Missing("moe_intermediate_size")
    shared = (shape.get("n_shared_experts") or 0) * 3 * h * width
    # DeepSeek-V3's correction bias of the router is a buffer in transformers and no parameter.
    return shape.experts * h + shared, shape.experts * 3 * h * width
