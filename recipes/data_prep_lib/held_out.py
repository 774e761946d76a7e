"""One valid and one test pair a dataset, joined from the parts of its shards.

Why not a pair a shard: AutoModel takes no weights for a validation split that is read completely, and then asserts that
every prefix holds at least one sequence. A hundredth of a shard often does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_prep_lib import receipts
from data_prep_lib.hashes import fingerprint
from data_prep_lib.layout import HELD_OUT, Layout, pair
from data_prep_lib.shards import Shard


def receipt_name(dataset: str) -> str:
    return f"held_out/{dataset}"


def made_by(shards: Sequence[tuple[Shard, str]]) -> str:
    return fingerprint([origin for _, origin in shards])


def join(layout: Layout, dataset: str, shards: Sequence[tuple[Shard, str]], dtype: str) -> dict[str, Any]:
    """Join the parts of a dataset and write its receipt."""
    from data_prep_lib.megatron import concatenate  # late: it imports numpy, and mostly nothing is to be joined

    files = []
    for split in HELD_OUT:
        parts = [p for p in (layout.prefix(split, shard) for shard, _ in shards) if pair(p)]
        prefix = layout.held_out(split, dataset)
        for stale in pair(prefix):
            stale.unlink()
        if parts:
            concatenate(parts, prefix, dtype)
            files += pair(prefix)
    return receipts.write(layout, receipt_name(dataset), made_by(shards), files)


def remove_parts(layout: Layout, shards: Sequence[Shard]) -> None:
    for shard in shards:
        for split in layout.in_parts:
            for path in pair(layout.prefix(split, shard)):
                path.unlink()
