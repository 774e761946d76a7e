"""blend.json, in the form that AutoModel 0.7.0's MegatronPretraining takes (tried against its classes).

train        ["weight", "prefix", ...]: without weights AutoModel stops at one epoch, however many steps the run has.
             A dataset's weight is shared over its shards by their tokens.
valid, test  ["prefix", ...]: with weights a split that is read completely (test; validation with
             trainer_limit_val_batches up to 1.0) ends in a TypeError.
A split without documents is left out: an empty list is an error there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep_lib.layout import HELD_OUT, Layout
from data_prep_lib.shards import Shard


def make_blend(
    layout: Layout, weights: Mapping[str, float], shards: Sequence[Shard], receipts: Mapping[str, Any]
) -> dict[str, list[str]]:
    """`weights` by dataset, `receipts` by the shards' names."""
    tokens = {shard.name: int(receipts[shard.name]["counts"]["train"]["tokens"]) for shard in shards}
    totals = {name: sum(tokens[s.name] for s in shards if s.dataset == name) for name in weights}
    blend: dict[str, list[str]] = {"train": []}
    for shard in shards:
        if tokens[shard.name]:
            weight = weights[shard.dataset] * tokens[shard.name] / totals[shard.dataset]
            blend["train"] += [f"{weight:.12g}", str(layout.prefix("train", shard))]
    for split in HELD_OUT:
        blend[split] = [str(prefix) for name in weights for prefix in layout.all_held_out(split, name)]
    return {split: entries for split, entries in blend.items() if entries}


def relative(blend: Any) -> dict[str, list[str]] | None:
    """The blend with its prefixes as HASH/SPLIT/NAME, which a move leaves as they are; None of what is no blend."""
    if not isinstance(blend, dict):
        return None
    return {split: [_tail(str(entry)) for entry in entries] for split, entries in blend.items()}


def moved(blend: Mapping[str, Sequence[str]], base: Path) -> dict[str, list[str]]:
    """The blend with its prefixes below `base`, the output_dir where they lie now."""
    return {
        split: [str(base / _tail(entry)) if entry.startswith("/") else entry for entry in entries]
        for split, entries in blend.items()
    }


def _tail(entry: str) -> str:
    return "/".join(entry.split("/")[-3:]) if entry.startswith("/") else entry
