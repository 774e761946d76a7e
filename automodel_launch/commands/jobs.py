"""`jobs`: every job that was submitted from here, with its state."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from automodel_launch import contract, workspace
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Command
from automodel_launch.jobs import records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state

AT_ONCE = 8  # sshd takes 10 sessions a connection unless it was told otherwise


class Jobs(Command):
    """A line a job, oldest first."""

    name = "jobs"

    def run(self, args: argparse.Namespace) -> int:
        """Ask for all states, and print them."""
        folder = workspace.find(args.env).records
        found = records.all_records(folder)
        waiting = state.waiting(found)

        def look(record: Record) -> tuple[Record, Status]:
            now = waiting.get(record.job_id)
            return (record, now) if now else state.look(folder, record)

        with ThreadPoolExecutor(AT_ONCE) as pool:  # a status is mostly waiting, for Slurm or for a host
            rows = list(pool.map(look, found))
        for path in records.unreadable(folder):
            console.say(f"left out: {path} is no record of a job that this version can read")
        if args.json:
            console.document([one_job.row(record, now) for record, now in rows])
        elif rows:
            console.out("\n".join(console.table([_cells(record, now) for record, now in rows])))
        else:
            console.say("no job was submitted from here yet")
        names = sweeps.names(folder)
        if names:
            console.say(f"sweeps: {console.listed(names[::-1])}; `python launch.py status SWEEP` has a line a point")
        return 0


def _cells(record: Record, now: Status) -> tuple[str, ...]:
    said = [f"step {now.step}"] if now.step is not None else []
    said += [now.reason] if now.reason and now.state == contract.RUNNING else []
    said += [f"no further attempt is queued: python launch.py resume {record.job_id}"] if now.stuck else []
    return record.job_id, now.state, record.profile, console.clock(record.submitted), "; ".join(said)


COMMAND = Jobs()
