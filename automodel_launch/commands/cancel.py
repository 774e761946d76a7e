"""`cancel JOB`: stop a job, and wait until it has ended."""

from __future__ import annotations

import argparse
import time

from automodel_launch import executors
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError
from automodel_launch.jobs.records import Record, Status

LATE_S = 30.0  # after stop_grace, for the agents to kill and to write down what was


class Cancel(JobCommand):
    """Stop one job with all its further attempts."""

    name = "cancel"
    options = (Option(("--now",), "kill it, without a save"),)

    def run(self, args: argparse.Namespace) -> int:
        """Stop it.

        Raises:
            JobError: it has ended.
        """
        record = self.find(args)
        before = one_job.status(record)
        if before.over:
            raise JobError(f"{record.job_id} has already ended: {before.state}.")
        return stop(args, record, args.now)


def stop(args: argparse.Namespace, record: Record, now: bool) -> int:
    """Stop a job that has not ended, wait for its end, and print that."""
    executors.get(record.executor).cancel(record, now=now)
    console.say(f"stopping {record.job_id}{'' if now else '; it may save a checkpoint first'} ...")
    end = _wait(record)
    one_job.remember(args, record, end)
    if args.json:
        console.document(one_job.row(record, end), indent=None)
    else:
        console.out(f"{record.job_id}: {end.state}")
    return 0


def _wait(record: Record) -> Status:
    executor = executors.get(record.executor)
    end, pause = one_job.status(record), 0.2
    grace = record.handle.get("stop_grace")  # where nobody else keeps that time, or an agent may be missing
    patience = time.monotonic() + grace + LATE_S if grace else float("inf")
    while not end.over and not end.forgotten:
        time.sleep(pause)
        if time.monotonic() > patience:
            console.say(f"{record.job_id} has not ended within its stop_grace: killing it")
            executor.cancel(record, now=True)
            patience = float("inf")
        end, pause = one_job.status(record), min(pause * 1.5, executor.poll_s)
    return end


COMMAND = Cancel()
