"""States of jobs that are looked at again and again: each is asked for at the pace at which `attach` asks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from automodel_launch import executors
from automodel_launch.errors import LaunchError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state, waiting
from automodel_launch.launch.pace import Pace

_UNKNOWN_S = 30.0  # between two questions about a job of an executor that nobody knows


class Asked:
    """What was answered last of each job; who is due is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Record, Status, Pace]] = {}

    def look(self, found: Sequence[Record], pool: ThreadPoolExecutor) -> list[tuple[Record, Status]]:
        """Each job with its state."""
        due = [record for record in found if self._is_due(record)]
        begun_not = state.waiting(record for record in due if _is_known(record))

        def ask(record: Record) -> tuple[Record, Status]:
            told = begun_not.get(record.job_id)
            return (record, told) if told is not None else waiting.look_at(self._folder, record)

        for before, (record, status) in zip(due, pool.map(ask, due), strict=True):
            known = self._known.get(before.job_id)
            pace = known[2] if known else Pace(quickest_s(record))
            pace.note(status)
            self._known[before.job_id] = record, status, pace
        return [self._known[record.job_id][:2] for record in found]

    def _is_due(self, record: Record) -> bool:
        known = self._known.get(record.job_id)
        return known is None or known[2].due or not records.is_same_start(known[0], record)


def quickest_s(record: Record) -> float:
    """Seconds between two questions about a job, at the least."""
    return executors.get(record.executor).poll_s if _is_known(record) else _UNKNOWN_S


def _is_known(record: Record) -> bool:
    try:
        executors.get(record.executor)
    except LaunchError:  # of a later version
        return False
    return True
