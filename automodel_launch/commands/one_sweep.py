"""What the commands do where JOB names a sweep: its points, their states, and `status`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.jobs import records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.jobs.sweeps import Sweep, SweepPoint
from automodel_launch.launch import state, waiting
from automodel_launch.remote.shell import AT_ONCE

LONGEST_VALUE = 40
NOT_THERE = Status(records.NOT_SUBMITTED, error="no job of it was submitted from here")


class Row(NamedTuple):
    """A point: its number from 1 on, its last job where there is one, and that one's state."""

    number: int
    point: SweepPoint
    record: Record | None
    now: Status

    @property
    def over(self) -> bool:
        """Whether nobody runs it, or could: one that cannot be asked for now may run."""
        return self.record is None or self.now.over or self.now.forgotten

    @property
    def why(self) -> str:
        """Why it has failed, or waits."""
        return waiting.why(self.record, self.now)

    def called(self, sweep: Sweep) -> str:
        """How a person names it."""
        return f"{sweep.name}.{self.number}"


def named(args: argparse.Namespace) -> Sweep | None:
    """The sweep that JOB names, None where it names something else."""
    return sweeps.find(workspace.find(args.env).records, args.job)


def look(args: argparse.Namespace, sweep: Sweep, over: Iterable[Row] = ()) -> list[Row]:
    """Each point's last job with its state now; those in `over` have ended, and are not asked for again.

    One that waits for a run is let go, or cancelled, where that is due: its end may have been seen by nobody.
    """
    folder = workspace.find(args.env).records
    known, seen = {row.number: row for row in over}, waiting.Seen()
    jobs = sweeps.jobs_of(folder, sweep)
    begun_not = state.waiting(record for record in jobs if record)

    def of(number: int, point: SweepPoint, record: Record | None) -> Row:
        if number in known:
            return known[number]
        if record and record.job_id in begun_not:
            return Row(number, point, record, begun_not[record.job_id])
        return Row(number, point, *((None, NOT_THERE) if record is None else waiting.look_at(folder, record, seen)))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(of, range(1, len(jobs) + 1), sweep.points, jobs))


def status(args: argparse.Namespace, sweep: Sweep) -> int:
    """A line a point."""
    rows = look(args, sweep)
    if args.json:
        console.document(document(sweep, rows))
        return 0
    console.out(counted(sweep, rows))
    cells = [["point", *short(sweep.keys), "state", "step", ""]]
    for row in rows:
        values = settings(row.point.settings, sweep.keys)
        step = "" if row.now.step is None else str(row.now.step + 1)  # as `status` of a job counts
        cells.append([f".{row.number}", *values, row.now.state, step, row.why])
    columns = console.width()
    console.out("\n".join(console.cut_line(f"  {line}", columns) for line in console.table(cells)))
    return 0


def counted(sweep: Sweep, rows: list[Row]) -> str:
    """`NAME: 10 COMPLETED, 2 RUNNING`"""
    states = [row.now.state for row in rows]
    return f"{sweep.name}: " + ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))


def settings(of: Mapping[str, str], keys: list[str]) -> list[str]:
    """What a point sets of these keys, in a line each, as a table has room for it."""
    return [console.cut(of.get(key, ""), LONGEST_VALUE) for key in keys]


def short(keys: list[str]) -> list[str]:
    """The last parts of dotted keys, where that tells them apart."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]


def document(sweep: Sweep, rows: list[Row]) -> dict[str, Any]:
    """The points as JSON data."""
    return {"sweep": sweep.name, "at_most": sweep.at_most, "points": [_document(row) for row in rows]}


def _document(row: Row) -> dict[str, Any]:
    record, now = row.record, row.now
    return {
        "point": row.number,
        "name": row.point.label,
        "run_name": row.point.run_name,
        "settings": row.point.settings,
        "job_id": record.job_id if record else None,
        "slurm_id": record.handle.get("slurm_id") if record else None,
        "state": now.state,
        "code": now.code,
        "step": now.step,
        "error": now.error,
    }
