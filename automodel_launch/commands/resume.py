"""`resume JOB`: a further attempt at a job that is over."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from automodel_launch import contract, workspace
from automodel_launch.commands import console, one_job, one_pipeline, one_sweep, sweep_acts
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError
from automodel_launch.jobs import records
from automodel_launch.launch.interrupts import Interrupts


class Resume(JobCommand):
    """Start a job that is over once more."""

    name = "resume"

    def run(self, args: argparse.Namespace) -> int:
        """Submit it again.

        Raises:
            JobError: it is not over, was never submitted, its files are gone, it has used up its GPU-hours, or needs a
                secret that this shell has not.
            PlanRefused: the run began with other data.
        """
        from automodel_launch.launch import resume

        sweep = one_sweep.named(args)
        if sweep is not None:
            return sweep_acts.resume(args, sweep)
        pipeline = one_pipeline.named(args)
        if pipeline is not None:
            message = f"{pipeline.name} is a pipeline: its own command goes on with what has not completed."
            raise JobError(message, pipeline.again)
        record = self.find(args)
        before, place = one_job.status(record), one_job.directory(record).place
        one_job.reachable(record, before)
        if not before.over:
            raise JobError(f"{record.job_id} is not over: {before.state}.", f"python launch.py attach {record.job_id}")
        if before.state == records.NOT_SUBMITTED:
            raise one_job.never_submitted(record)
        if resume.finished(record, before, place):
            place.remove(f"{record.run_dir}/{contract.STOP}")  # of a pause: it would refuse a longer launch
            console.say(f"run {record.run_name} is finished; nothing was started")
            if args.json:
                console.document(one_job.row(record, before), indent=None)
            else:
                console.out(f"{record.job_id}: {before.state}")
            return 0
        interrupts = Interrupts()
        folder = workspace.find(args.env).records
        record = resume.resume(folder, record, os.environ, interrupts, console.say)
        if args.json:
            console.document(asdict(record), indent=None)
        else:
            console.out(record.job_id)
        console.say(f"{record.job_id} goes on; follow it with `python launch.py attach {record.job_id}`")
        return interrupts.code


COMMAND = Resume()
