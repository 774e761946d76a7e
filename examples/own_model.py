"""A causal language model in a file of one's own, for configs/pretrain/custom-model.yaml: plain PyTorch, 80 lines.

What AutoModel 0.7.0 asks of a model's `_target_`: a function that returns a module, whose `forward` takes `input_ids`
(and whatever else a batch has, which may be ignored) and returns the logits, or an object with the attribute `logits`.
FSDP2 shards the entries of the module lists that it finds, one by one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def build(vocab_size: int, width: int, layers: int, heads: int, positions: int, theta: float = 10_000.0) -> nn.Module:
    """The model with random weights."""
    return OwnModel(vocab_size, width, layers, heads, positions, theta)


class OwnModel(nn.Module):
    """Pre-norm decoder: rotary positions, RMSNorm, gated MLP; the output layer shares the embedding's weights."""

    def __init__(self, vocab_size: int, width: int, layers: int, heads: int, positions: int, theta: float) -> None:
        super().__init__()
        if width % heads or (width // heads) % 2:
            raise ValueError(f"width = {width} must be {heads} heads of an even width")
        self.heads, self.positions, self.theta = heads, positions, theta
        self.embedding = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.apply(self._draw)

    @staticmethod
    def _draw(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """Logits, (batch, sequence, vocabulary)."""
        length = input_ids.shape[1]
        if length > self.positions:
            raise ValueError(f"a sequence of {length} tokens, and the model has {self.positions} positions")
        hidden = self.embedding(input_ids)
        turn = self._turn(length, hidden)
        for layer in self.layers:
            hidden = layer(hidden, turn)
        return functional.linear(self.norm(hidden), self.embedding.weight)

    def _turn(self, length: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of each position, in float32 until the last moment: bfloat16 cannot count to 300."""
        half = self.embedding.embedding_dim // self.heads // 2
        frequencies = self.theta ** (-torch.arange(half, device=like.device, dtype=torch.float32) / half)
        angles = torch.outer(torch.arange(length, device=like.device, dtype=torch.float32), frequencies)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = 128 * -(-8 * width // 3 // 128)
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The hidden states after the layer."""
        hidden = hidden + self._attend(self.norm_attention(hidden), turn)
        gate, up = self.gate_up(self.norm_mlp(hidden)).chunk(2, dim=-1)
        return hidden + self.down(functional.silu(gate) * up)

    def _attend(self, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        batch, length, width = hidden.shape
        q, k, v = self.qkv(hidden).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(_turned(q, turn), _turned(k, turn), v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


def _turned(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cosine, sine = turn
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
