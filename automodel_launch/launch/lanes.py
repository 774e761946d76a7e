"""At most N runs of a sweep at once where a run is more than one job: each waits for the end of the N-th one before it.

It is held, and let go by whoever sees that end, as any job that waits (waiting.py); a failure is an end, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract
from automodel_launch.frozen import thaw
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import FileSystem


def join(
    folder: Path, reserved: Sequence[Record], busy: Sequence[Record], at_most: int, place: FileSystem
) -> list[Record]:
    """The records with what each waits for besides, written down; none of them has been submitted yet.

    `busy` are those that run or wait already, which have their places.

    Raises:
        ClusterError: the place does not answer.
        RecordError: a record cannot be written.
    """
    order, found = [*busy, *reserved], []
    for number, record in enumerate(reserved, len(busy)):
        before = [_run(order[number - at_most], place)] if number >= at_most else []
        known = {run["run_dir"] for run in record.after}
        after = [*thaw(record.after), *(run for run in before if run["run_dir"] not in known)]
        found.append(_with(folder, record, after) if before else record)
    return found


def _with(folder: Path, record: Record, after: list[dict[str, Any]]) -> Record:
    records.change(folder, record, lambda now: replace(now, after=after))
    return replace(record, after=after)


def _run(record: Record, place: FileSystem) -> dict[str, Any]:
    """As waiting.run_of, of a job that this launcher is about to submit: who looks at it finds it by its claim."""
    found = place.read(f"{record.run_dir}/{contract.HISTORY}", -1)
    own = {key: getattr(record, key) for key in ("run_name", "run_dir", "job_id", "job_dir")}
    kept = asdict(replace(record, after=[], launcher=None))
    return {**own, "history_bytes": found[1] if found else 0, "record": kept, contract.ANY_END: True}
