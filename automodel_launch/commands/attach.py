"""`attach [JOB]`: follow a job from its first line to its end."""

from __future__ import annotations

import argparse

from automodel_launch import executors
from automodel_launch.commands import console, one_job, one_pipeline, one_sweep, sweep_follow
from automodel_launch.commands.command import VERBOSE
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError
from automodel_launch.jobs import records
from automodel_launch.launch import closing


class Attach(JobCommand):
    """Follow one job."""

    name = "attach"
    bare = True
    options = (VERBOSE,)

    def run(self, args: argparse.Namespace) -> int:
        """Follow; the job's own exit code."""
        sweep = one_sweep.named(args)
        if sweep is not None:
            return sweep_follow.attach(args, sweep)
        pipeline = one_pipeline.named(args)
        if pipeline is not None:
            return one_pipeline.attach(args, pipeline)
        record = self.find(args)
        now = one_job.status(record)
        one_job.reachable(record, now)
        if now.state == records.NOT_SUBMITTED:
            raise one_job.never_submitted(record)
        if now.state == "UNKNOWN" and (now.forgotten or executors.get(record.executor).here):
            raise JobError(f"{record.job_id}: {now.error}.")
        if not now.over:
            stop = f"`python launch.py cancel {record.job_id}`, or Ctrl-C again within 3 s, stops it"
            console.say(f"following {record.job_id}. Ctrl-C leaves it, and it goes on; {stop}.")
        end, code = one_job.follow(args, record)
        if args.json:
            console.result(one_job.row(record, end))
        console.say(closing.closing_block(record, end, seen=[0]))
        return code


COMMAND = Attach()
