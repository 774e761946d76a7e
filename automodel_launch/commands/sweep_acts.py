"""`cancel`, `pause` and `resume` where JOB names a sweep: the same for each of its points that it is for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from automodel_launch import contract, workspace
from automodel_launch.commands import console, one_job, one_sweep
from automodel_launch.commands.one_sweep import Row
from automodel_launch.errors import JobError, LaunchError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.launch import cancelling, waiting

GOES_ON = frozenset({contract.CANCELLED, *contract.ENDED_FROM_OUTSIDE})
"""States of points that `resume SWEEP` goes on with: what has failed by itself would fail again."""


def cancel(args: argparse.Namespace, sweep: Sweep) -> int:
    """Stop every point that has not ended, and wait for their ends; exit code 1 where one could not be stopped."""
    rows = _stoppable(sweep, one_sweep.look(args, sweep))
    if not rows:
        raise JobError(f"no point of {sweep.name} is in the queue or runs.", f"python launch.py status {sweep.name}")
    return _stop(args, sweep, rows, args.now)


def pause(args: argparse.Namespace, sweep: Sweep) -> int:
    """Stop every point that has not ended, until `resume SWEEP`."""
    rows = _stoppable(sweep, one_sweep.look(args, sweep))
    if not rows:
        raise JobError(f"no point of {sweep.name} is in the queue or runs.", f"python launch.py status {sweep.name}")
    for record in filter(None, (row.record for row in rows)):
        one_job.keep_stopped(record)
    code = _stop(args, sweep, rows, now=False)
    for row in one_sweep.look(args, sweep):  # one that has reached its end meanwhile is not paused
        if row.record and row.now.state == contract.COMPLETED:
            one_job.directory(row.record).place.remove(f"{row.record.run_dir}/{contract.STOP}")
    console.say(f"{sweep.name} is paused; `python launch.py resume {sweep.name}` goes on")
    return code


def resume(args: argparse.Namespace, sweep: Sweep) -> int:
    """A further attempt at every point that was stopped, paused or ended from outside; no more at once than the sweep
    has asked for."""
    from automodel_launch.launch import resume as resuming

    rows = one_sweep.look(args, sweep)
    busy = sum(not row.over for row in rows)
    wanted = [row for row in rows if row.record and row.now.state in GOES_ON]
    free = len(wanted) if sweep.at_most is None else max(0, sweep.at_most - busy)
    folder = workspace.find(args.env).records

    def again(record: Record) -> None:
        started = resuming.resume(folder, record, os.environ, say=console.say)
        console.say(f"{started.job_id} goes on")

    failed = _each(sweep, wanted[:free], again)
    left = len(wanted[free:])
    if left:
        console.say(f"{left} more wait: {sweep.at_most} may run at once. The same command resumes them later.")
    for row in rows:
        if row.now.state in contract.ENDED and row.now.state not in (contract.COMPLETED, *GOES_ON):
            how = f"`python launch.py resume {row.called(sweep)}` resumes it all the same"
            console.say(f"{row.called(sweep)} ended as {row.now.state}, and is not resumed; {how}")
        elif row.record is None or row.now.state == records.NOT_SUBMITTED:
            console.say(f"{row.called(sweep)} was never submitted: the sweep's own command again submits it")
    if not wanted:
        console.say(f"{sweep.name}: no point was stopped, so none is resumed")
    return _told(args, sweep, failed)


def _stoppable(sweep: Sweep, rows: list[Row]) -> list[Row]:
    """Those in the queue last of all first: none of them may begin while others end."""
    return sorted(
        (row for row in rows if not row.over),
        key=lambda row: (row.now.state != contract.PENDING, -row.number),
    )


def stop_all(args: argparse.Namespace, sweep: Sweep, rows: list[Row]) -> int:
    """Stop the points that have not ended, and wait for their ends; how many could not be stopped."""
    return _stop_each(args, sweep, _stoppable(sweep, rows), args.now)


def _stop(args: argparse.Namespace, sweep: Sweep, rows: list[Row], now: bool) -> int:
    return _told(args, sweep, _stop_each(args, sweep, rows, now))


def _stop_each(args: argparse.Namespace, sweep: Sweep, rows: list[Row], now: bool) -> int:
    asked: list[Record] = []

    def ask(row: Row) -> Callable[[Record], None]:
        def act(record: Record) -> None:
            told = cancelling.ask(record, row.now, now)
            console.say(f"stopping {row.called(sweep)} ({record.job_id})" + (f". {told}" if told else ""))
            asked.append(record)

        return act

    failed = sum(_each(sweep, [row], ask(row)) for row in rows)
    for record in asked:
        try:
            end = cancelling.wait(record, console.say)
            one_job.remember(args, record, end)
            if end.state != contract.COMPLETED:
                waiting.end_early(workspace.find(args.env).records, record, end)
        except LaunchError as error:
            failed += 1
            console.say(f"{record.job_id}: {error.message}")
    return failed


def _each(sweep: Sweep, rows: Iterable[Row], act: Callable[[Record], Any]) -> int:
    """`act` of each point's job; the number of those that could not be, which is said of each."""
    failed = 0
    for row in rows:
        try:
            if row.record:
                act(row.record)
        except LaunchError as error:
            failed += 1
            console.say(f"{row.called(sweep)}: {error.message}")
    return failed


def _told(args: argparse.Namespace, sweep: Sweep, failed: int) -> int:
    rows = one_sweep.look(args, sweep)
    if args.json:
        console.document(one_sweep.document(sweep, rows))
    else:
        console.out(one_sweep.counted(sweep, rows))
    return 1 if failed else 0
