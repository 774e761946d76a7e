"""How far many jobs are: one reading for each place where they have run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor as Pool
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import LaunchError
from automodel_launch.jobs.jobdir import METRICS_TAIL
from automodel_launch.jobs.records import NOT_SUBMITTED, Record, Status
from automodel_launch.launch import speed
from automodel_launch.launch.speed import Speed
from automodel_launch.remote.filesystem import FileSystem


def of(seen: Sequence[tuple[Record, Status]], pool: Pool) -> list[tuple[Record, Status, Speed]]:
    """Each with its pace; one of a place that cannot be reached has that of its state alone."""
    by_place: dict[FileSystem, list[int]] = {}
    for number, (record, status) in enumerate(seen):
        if status.state not in (NOT_SUBMITTED, "UNKNOWN"):
            try:
                by_place.setdefault(executors.get(record.executor).place_of(record), []).append(number)
            except LaunchError:
                continue
    found: dict[int, list[dict[str, Any]]] = {}
    for rows in pool.map(lambda item: _read(seen, *item), by_place.items()):
        found |= rows
    now = time.time()
    return [
        (record, status, speed.of(record, status, found.get(number, ()), now))
        for number, (record, status) in enumerate(seen)
    ]


def _read(
    seen: Sequence[tuple[Record, Status]], place: FileSystem, numbers: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    try:
        read = place.read_many([(f"{seen[n][0].job_dir}/{contract.METRICS}", -METRICS_TAIL) for n in numbers])
    except LaunchError:
        return {}
    return {
        n: speed.rows(each[0], whole=each[1] <= METRICS_TAIL) for n, each in zip(numbers, read, strict=True) if each
    }
