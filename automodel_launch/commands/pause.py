"""`pause JOB`: stop a run until `resume`."""

from __future__ import annotations

import argparse

from automodel_launch import contract
from automodel_launch.commands import cancel, console, one_job
from automodel_launch.commands.one_job import JobCommand


class Pause(JobCommand):
    """Stop a run until it is resumed: the job, its further attempts, and any other job of the run."""

    name = "pause"

    def run(self, args: argparse.Namespace) -> int:
        """Leave the run's stop file, then cancel the job."""
        record = self.find(args)
        one_job.directory(record).place.put(record.run_dir, {}, {contract.STOP: "pause\n"})
        console.say(f"{record.run_name} is paused; `python launch.py resume {record.job_id}` goes on")
        now = one_job.status(record)
        if not now.over and not now.forgotten:
            return cancel.stop(args, record, now, now=False)
        if args.json:
            console.document(one_job.row(record, now), indent=None)
        else:
            console.out(f"{record.job_id}: paused")
        return 0


COMMAND = Pause()
