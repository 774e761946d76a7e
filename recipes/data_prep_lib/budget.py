"""`max_tokens` of the blend -> the tokens that each shard may write, a rule of the input and the weights alone.

A dataset gets max_tokens * weight / sum of weights, so that one pass over each gives the blend that the weights ask
for. Its shards share that by their bytes of input, since a shard cannot know what others have found: only so is the
result the same for any number of workers and nodes. What a shard or dataset cannot use up is not given to another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from data_prep_lib.config import Dataset
from data_prep_lib.shards import Shard


def share_out(max_tokens: int | None, datasets: Sequence[Dataset], shards: Sequence[Shard]) -> list[Shard]:
    """The shards, each with its own limit."""
    if max_tokens is None:
        return list(shards)
    total = sum(dataset.weight for dataset in datasets)
    limits: dict[str, int] = {}
    # cut between running sums: the shares then add up to max_tokens exactly
    for (dataset, before), (_, after) in _running([(d.name, d.weight / total) for d in datasets]):
        mine = [shard for shard in shards if shard.dataset == dataset]
        first, last = round(max_tokens * before), round(max_tokens * after)
        limits |= _by_size(mine, last - first)
    return [dataclasses.replace(shard, max_tokens=limits[shard.name]) for shard in shards]


def _running(shares: list[tuple[str, float]]) -> list[tuple[tuple[str, float], tuple[str, float]]]:
    edges, at = [], 0.0
    for i, (name, share) in enumerate(shares):
        end = 1.0 if i == len(shares) - 1 else at + share
        edges.append(((name, at), (name, end)))
        at = end
    return edges


def _by_size(shards: list[Shard], tokens: int) -> dict[str, int]:
    total, before, limits = sum(shard.size for shard in shards), 0, {}
    for shard in shards:
        after = before + shard.size
        limits[shard.name] = tokens * after // total - tokens * before // total
        before = after
    return limits
