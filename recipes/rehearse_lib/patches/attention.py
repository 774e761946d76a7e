"""Scaled dot product attention as a GPU computes it, as far as shapes and bytes go."""

from __future__ import annotations

from typing import Any

import torch


def apply() -> None:
    """Leave dropout out, after a look at its probability."""
    # torch 2.13: with dropout, the CPU's kernel is the one that makes the whole matrix of scores; a GPU's does not.
    functional = torch.nn.functional
    attention = functional.scaled_dot_product_attention

    def without_dropout(
        query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        if not 0 <= dropout_p <= 1:
            raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
        return attention(query, key, value, attn_mask=attn_mask, dropout_p=0.0, is_causal=is_causal, **kwargs)

    functional.scaled_dot_product_attention = without_dropout
