"""Floating-point operations of a training, counted as for model FLOPs utilization (MFU): docs/memory.md."""

from __future__ import annotations

from automodel_launch.backends.automodel.model.parameters import Parameters, sparse_layers
from automodel_launch.backends.automodel.model.shape import Shape


def active(shape: Shape, parameters: Parameters) -> float:
    """Parameters that a token is multiplied with: not the input embedding, and of the experts those it is sent to."""
    head = parameters.head or parameters.embedding
    share = min(1.0, (shape.get("num_experts_per_tok") or 2) / shape.experts) if shape.experts else 0.0
    return head + parameters.layers + parameters.experts * share


def per_token(shape: Shape, parameters: Parameters, sequence: int, trained: float = 1.0) -> float:
    """Operations of a token's forward and backward pass in a sequence of that length.

    6 a parameter (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and attention's two products with on average
    half of the sequence's positions. A frozen parameter (`trained` is the share of the others) takes 4: it has no
    gradient. What recomputation repeats is no work of the model's and is not counted.
    """
    heads = shape.get("num_attention_heads") or 0
    if shape.get("kv_lora_rank"):
        nope, rope, v = (shape.get(f"{name}_head_dim") or 0 for name in ("qk_nope", "qk_rope", "v"))
        width = heads * (nope + rope + v)
    else:
        width = 2 * heads * (shape.head_dim or 0)
    attention = 6 * parameters.number_of_layers * width * _attended(shape, sequence)
    return (4 + 2 * trained) * active(shape, parameters) + attention


def _attended(shape: Shape, sequence: int) -> float:
    """Positions that a token attends to, on average over tokens and layers."""
    window, half = shape.get("sliding_window"), sequence / 2
    if shape.family != "gemma3_text" or not window:
        return half
    near = min(half, window)
    return (5 * near + half) / 6  # every sixth layer attends to all (arXiv 2503.19786, section 2)


def utilization(shape: Shape) -> float:
    """The share of a GPU's peak that is assumed: 0.4 for dense models, 0.2 with experts; usual, not measured."""
    return 0.2 if sparse_layers(shape) else 0.4
