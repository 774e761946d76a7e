"""Which documents go into which nanoGPT file: a rule of the tokenized parts alone.

NanogptDataset reads a file from its start to its end and never shuffles. So the sources are not laid one behind the
other, but dealt out in blocks, each source evenly over the whole length: every stretch of the training data holds them
in the proportion of their tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from data_prep_lib.megatron import count_documents, read_lengths

_BLOCK_TOKENS = 1 << 20
_LENGTHS = 1 << 20  # documents whose lengths are held at once


@dataclass(frozen=True)
class Block:
    """Documents [first, first + documents) of a Megatron pair; `start` and `tokens` count its tokens."""

    part: Path
    first: int
    documents: int
    start: int
    tokens: int


def blocks_of(parts: Iterable[Path], block_tokens: int = _BLOCK_TOKENS) -> list[Block]:
    """The documents of some pairs in their order, cut into blocks that a document of its own may make larger."""
    blocks = []
    for part in parts:
        start = 0
        for at in range(0, count_documents(part), _LENGTHS):
            ends = np.cumsum(read_lengths(part, at, _LENGTHS), dtype=np.int64)
            cuts = np.unique(np.searchsorted(ends, np.arange(block_tokens, ends[-1] + block_tokens, block_tokens)) + 1)
            low = 0
            for high in (int(cut) for cut in np.minimum(cuts, len(ends))):
                if high > low:
                    tokens = int(ends[high - 1] - (ends[low - 1] if low else 0))
                    blocks.append(Block(part, at + low, high - low, start, tokens))
                    start, low = start + tokens, high
    return blocks


def interleave(sources: Sequence[Sequence[Block]]) -> list[Block]:
    """All blocks, each at its own place (from 0 to 1) in its source; equal places in the order of the sources."""
    placed = []
    for number, blocks in enumerate(sources):
        total = sum(block.tokens for block in blocks)
        ends = accumulate(block.tokens for block in blocks)
        placed += [((end - block.tokens / 2) / total, number, block) for end, block in zip(ends, blocks, strict=True)]
    return [block for _, _, block in sorted(placed, key=lambda item: item[:2])]


def deal(blocks: Sequence[Block], files: int) -> list[list[Block]]:
    """The blocks in their order, cut into runs of nearly equal size where a document ends."""
    ends = list(accumulate(block.tokens for block in blocks))
    cuts = [(0, 0), *(_cut(blocks, ends, ends[-1] * k // files) for k in range(1, files)), (len(blocks), 0)]
    return [_between(blocks, low, high) for low, high in pairwise(cuts)]


def _cut(blocks: Sequence[Block], ends: Sequence[int], target: int) -> tuple[int, int]:
    """(block, documents of it before the cut) for the border of documents that is nearest to a position."""
    i = bisect_left(ends, target)
    block = blocks[i]
    inner = target - (ends[i] - block.tokens)
    borders = np.concatenate([[0], np.cumsum(read_lengths(block.part, block.first, block.documents), dtype=np.int64)])
    nearest = int(np.abs(borders - inner).argmin())
    return (i + 1, 0) if nearest == block.documents else (i, nearest)


def _between(blocks: Sequence[Block], low: tuple[int, int], high: tuple[int, int]) -> list[Block]:
    found = []
    for i in range(low[0], min(high[0] + 1, len(blocks))):
        first = low[1] if i == low[0] else 0
        last = high[1] if i == high[0] else blocks[i].documents
        if first < last:
            found.append(_some(blocks[i], first, last))
    return found


def _some(block: Block, first: int, last: int) -> Block:
    if (first, last) == (0, block.documents):
        return block
    lengths = read_lengths(block.part, block.first, last)
    before, tokens = int(lengths[:first].sum(dtype=np.int64)), int(lengths[first:].sum(dtype=np.int64))
    return replace(block, first=block.first + first, documents=last - first, start=block.start + before, tokens=tokens)
