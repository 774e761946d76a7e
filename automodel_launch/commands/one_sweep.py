"""What the commands do where JOB names a sweep: the same for each of its points that has a job."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.errors import LaunchError
from automodel_launch.jobs import records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.launch import cancelling, state

AT_ONCE = 8  # sshd takes 10 sessions a connection unless it was told otherwise
NOT_THERE = Status(records.NOT_SUBMITTED, error="no job of it was submitted")


def named(args: argparse.Namespace) -> Sweep | None:
    """The sweep that JOB names, None where it names something else."""
    return sweeps.find(workspace.find(args.env).records, args.job)


def look(args: argparse.Namespace, sweep: Sweep) -> list[tuple[Record | None, Status]]:
    """Each point's last job with its state now."""
    folder = workspace.find(args.env).records

    def of(record: Record | None) -> tuple[Record | None, Status]:
        return (None, NOT_THERE) if record is None else state.look(folder, record)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(of, sweeps.jobs_of(folder, sweep)))


def status(args: argparse.Namespace, sweep: Sweep) -> int:
    """A line a point."""
    rows = look(args, sweep)
    if args.json:
        console.document({"sweep": sweep.name, "points": _documents(sweep, rows)})
        return 0
    count = {s: sum(now.state == s for _, now in rows) for s in dict.fromkeys(now.state for _, now in rows)}
    console.out(f"{sweep.name}: " + ", ".join(f"{number} {name}" for name, number in count.items()))
    cells = [["job", *sweep.keys, "state", "step", ""]]
    for point, (record, now) in zip(sweep.points, rows, strict=True):
        values = [point.settings.get(key, "") for key in sweep.keys]
        step = "" if now.step is None else str(now.step)
        cells.append([record.job_id if record else point.run_name, *values, now.state, step, now.error or ""])
    console.out("\n".join(f"  {line}" for line in console.table(cells)))
    return 0


def cancel(args: argparse.Namespace, sweep: Sweep) -> int:
    """Stop every point that has not ended; those that cannot be stopped are said, and the exit code is 1."""
    failed = 0
    for record, now in reversed(look(args, sweep)):  # what waits first: none of it may begin meanwhile
        if record is None or now.over or now.forgotten:
            continue
        try:
            cancelling.ask(record, now, args.now)
            console.say(f"stopping {record.job_id}")
        except LaunchError as error:
            failed += 1
            console.say(f"{record.job_id}: {error.message}")
    if args.json:
        console.document({"sweep": sweep.name, "points": _documents(sweep, look(args, sweep))})
    return 1 if failed else 0


def _documents(sweep: Sweep, rows: list[tuple[Record | None, Status]]) -> list[dict[str, Any]]:
    return [
        {
            "name": point.label,
            "run_name": point.run_name,
            "settings": point.settings,
            "job_id": record.job_id if record else None,
            "slurm_id": record.handle.get("slurm_id") if record else None,
            "state": now.state,
            "code": now.code,
            "step": now.step,
            "error": now.error,
        }
        for point, (record, now) in zip(sweep.points, rows, strict=True)
    ]
