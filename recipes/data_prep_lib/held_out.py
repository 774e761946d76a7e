"""One valid and one test pair a dataset (and GiB), joined from the parts of its shards.

Why not a pair a shard: AutoModel takes no weights for a validation split that is read completely, and then asserts that
every prefix holds at least one sequence. A hundredth of a shard often does not.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from data_prep_lib import receipts
from data_prep_lib.hashes import fingerprint
from data_prep_lib.layout import HELD_OUT, Layout, pair
from data_prep_lib.shards import Shard

PAIR_BYTES = 1 << 30  # of ids in a pair, at least, where there is so much: nobody joins a TB by one process


def receipt_name(dataset: str) -> str:
    return f"held_out/{dataset}"


def made_by(shards: Sequence[tuple[Shard, str]]) -> str:
    return fingerprint([origin for _, origin in shards])


def join(layout: Layout, dataset: str, shards: Sequence[tuple[Shard, str]], dtype: str, workers: int) -> dict[str, Any]:
    """Join the parts of a dataset and write its receipt; several pairs in several processes."""
    from data_prep_lib.megatron import concatenate  # late: it imports numpy, and mostly nothing is to be joined

    tasks: list[tuple[list[Path], Path, str]] = []
    for split in HELD_OUT:
        parts = [p for p in (layout.prefix(split, shard) for shard, _ in shards) if pair(p)]
        groups = grouped(parts, PAIR_BYTES)
        for stale in layout.all_held_out(split, dataset):
            for path in pair(stale):
                path.unlink()
        tasks += [(group, layout.held_out(split, dataset, number), dtype) for number, group in enumerate(groups)]
    if len(tasks) > len(HELD_OUT):
        with ProcessPoolExecutor(min(workers, len(tasks)), multiprocessing.get_context("spawn")) as pool:
            for future in [pool.submit(concatenate, *task) for task in tasks]:
                future.result()
    else:
        for task in tasks:
            concatenate(*task)
    files = [path for _, prefix, _ in tasks for path in pair(prefix)]
    return receipts.write(layout, receipt_name(dataset), made_by(shards), files)


def grouped(parts: Sequence[Path], size: int) -> list[list[Path]]:
    """Runs of parts of at least `size` bytes of ids each; what is left over goes to the last one."""
    groups: list[list[Path]] = []
    room = 0
    for part in parts:
        if room <= 0:
            groups.append([])
            room = size
        groups[-1].append(part)
        room -= part.with_name(part.name + ".bin").stat().st_size
    if len(groups) > 1 and room > 0:
        rest = groups.pop()
        groups[-1] += rest
    return groups


def remove_parts(layout: Layout, shards: Sequence[Shard]) -> None:
    for shard in shards:
        for split in layout.in_parts:
            for path in pair(layout.prefix(split, shard)):
                path.unlink()
