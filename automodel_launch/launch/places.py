"""Many jobs looked at, each place by itself and all at the same time: one that does not answer holds up no other."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from automodel_launch import executors
from automodel_launch.errors import LaunchError
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import evaluation_jobs, speed, speeds
from automodel_launch.launch.asked import Asked
from automodel_launch.launch.speed import Speed
from automodel_launch.remote.filesystem import shell_of
from automodel_launch.remote.shell import AT_ONCE

FIRST_S = 2.0  # for which all others wait for a place; a healthy one answers within that time
_PLACES = 16

Seen = tuple[Record, Status, Speed]


class Places:
    """What was seen last of each job. `late` are places that have not answered yet, with their jobs, by name."""

    def __init__(self, folder: Path) -> None:
        self.late: dict[str, list[str]] = {}
        self._folder = folder
        self._due: dict[str, float] = {}  # of a way: when evaluations are looked for next
        self._asked = Asked(folder)
        self._pool = ThreadPoolExecutor(_PLACES)
        self._running: dict[str, Future[list[Seen]]] = {}
        self._known: dict[str, Seen] = {}

    def look(self, found: Sequence[Record], patience_s: float | None = FIRST_S) -> list[Seen]:
        """Each job as it is now, and the evaluations that batch scripts have submitted for them since the last look;
        one of a place that takes longer than `patience_s` seconds as it was seen last."""
        ways: dict[str, list[Record]] = {}
        for record in found:
            ways.setdefault(_way(record), []).append(record)
        for way, records in ways.items():
            if way not in self._running:
                self._running[way] = self._pool.submit(self._ask, way, records)
        wait(self._running.values(), patience_s)
        self._take()
        self.late = {}
        for way in self._running.keys() & ways.keys():
            name = _name(ways[way][0])
            waiting = [record.job_id for record in ways[way] if not record.final]
            if waiting:
                self.late[name] = self.late.get(name, []) + waiting
        ids = {record.job_id for record in found}
        new = (seen for job_id, seen in self._known.items() if job_id not in ids and seen[0].beside)
        seen = [*(self._known.get(record.job_id) or _not_yet(record) for record in found), *new]
        return sorted(seen, key=_submitted)

    def rest(self) -> list[Seen]:
        """The jobs of those that were late, once all have answered, and the evaluations that were found with them."""
        late, before = {job_id for ids in self.late.values() for job_id in ids}, set(self._known)
        wait(self._running.values())
        self._take()
        found = (seen for job_id, seen in self._known.items() if job_id in late or job_id not in before)
        return sorted((one for one in found if one[0].job_id in late or one[0].beside), key=_submitted)

    def _take(self) -> None:
        for way in [way for way, future in self._running.items() if future.done()]:
            self._known |= {seen[0].job_id: seen for seen in self._running.pop(way).result()}

    def _ask(self, way: str, records: Sequence[Record]) -> list[Seen]:
        if time.monotonic() >= self._due.get(way, 0.0):
            records = [*records, *evaluation_jobs.adopt(self._folder, records)]
            self._due[way] = time.monotonic() + evaluation_jobs.EVERY_S
        with ThreadPoolExecutor(AT_ONCE) as pool:  # a status is mostly waiting, for Slurm or for a host
            return speeds.of(self._asked.look(records, pool), pool)


def _submitted(seen: Seen) -> float:
    return seen[0].submitted


def _way(record: Record) -> str:
    """What is the same of jobs that are asked for in the same way."""
    try:
        keys = executors.get(record.executor).way
    except LaunchError:  # of a later version
        keys = ()
    return json.dumps([record.executor, *(record.handle.get(key) for key in keys)], default=str)


def _name(record: Record) -> str:
    try:
        place = shell_of(executors.get(record.executor).place_of(record)).place
    except LaunchError:  # of an odd record
        place = "an unknown place"
    return f"{record.executor} on {place}"


def _not_yet(record: Record) -> Seen:
    if record.final:
        return record, record.final, speed.of(record, record.final, (), time.time())
    return record, Status("UNKNOWN", error=f"{_name(record)} has not answered yet"), Speed()
