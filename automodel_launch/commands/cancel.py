"""`cancel JOB`: stop a job, and wait until it has ended."""

from __future__ import annotations

import argparse

from automodel_launch import contract, workspace
from automodel_launch.commands import console, evaluations_line, one_job, one_pipeline, one_sweep, sweep_acts
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import cancelling, waiting


class Cancel(JobCommand):
    """Stop one job with all its further attempts."""

    name = "cancel"
    options = (Option(("--now",), "kill it, without a save"),)

    def run(self, args: argparse.Namespace) -> int:
        """Stop it."""
        sweep = one_sweep.named(args)
        if sweep is not None:
            return sweep_acts.cancel(args, sweep)
        pipeline = one_pipeline.named(args)
        if pipeline is not None:
            return one_pipeline.cancel(args, pipeline)
        record = self.find(args)
        return stop(args, record, one_job.status(record), args.now)


def stop(args: argparse.Namespace, record: Record, before: Status, now: bool) -> int:
    """Stop a job, wait for its end, and print that.

    Raises:
        JobError: it has ended, or nobody knows it.
        ClusterError: its place does not answer.
    """
    told = cancelling.ask(record, before, now)
    console.say(f"stopping {record.job_id}{'' if now else '; it may save a checkpoint first'} ...")
    if told:
        console.say(told)
    end = cancelling.wait(record, console.say)
    one_job.remember(args, record, end)
    if end.state != contract.COMPLETED:
        waiting.end_early(workspace.find(args.env).records, record, end)
    if args.json:
        console.document(one_job.row(record, end), indent=None)
    else:
        console.out(f"{record.job_id}: {end.state}")
    evaluations_line.say_what_goes_on(args, record)
    if end.state != "CANCELLED" and (end.error or end.reason):  # it has ended by itself meanwhile, or otherwise
        console.say(f"{record.job_id}: {end.error or end.reason}")
    return 0


COMMAND = Cancel()
