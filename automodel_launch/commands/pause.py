"""`pause JOB`: stop a run until `resume`."""

from __future__ import annotations

import argparse

from automodel_launch import contract
from automodel_launch.commands import cancel, console, one_job, one_sweep, sweep_acts
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError
from automodel_launch.jobs import history, records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.remote.filesystem import FileSystem


class Pause(JobCommand):
    """Stop a run until it is resumed: the job, its further attempts, and any other job of the run."""

    name = "pause"

    def run(self, args: argparse.Namespace) -> int:
        """Leave the run's stop file, then cancel the job.

        Raises:
            JobError: `resume` could not go on with it: it has run to its end, or nobody knows it.
            ClusterError: its place does not answer.
        """
        from automodel_launch.launch import resume

        sweep = one_sweep.named(args)
        if sweep is not None:
            return sweep_acts.pause(args, sweep)
        record = self.find(args)
        now, place = one_job.status(record), one_job.directory(record).place
        _refuse_for_good(record, now, place)
        one_job.keep_stopped(record)
        console.say(f"{record.run_name} is paused; `python launch.py resume {record.job_id}` goes on")
        if not now.over:
            code = cancel.stop(args, record, now, now=False)
            if resume.finished(record, one_job.status(record), place):  # before it saw the stop file
                place.remove(f"{record.run_dir}/{contract.STOP}")
                console.say(f"run {record.run_name} has finished meanwhile: it is not paused")
            return code
        if args.json:
            console.document(one_job.row(record, now), indent=None)
        else:
            console.out(f"{record.job_id}: paused")
        return 0


def _refuse_for_good(record: Record, now: Status, place: FileSystem) -> None:
    """A pause that no `resume` ends would only stand in the way of every later launch of the run."""
    from automodel_launch.launch import resume

    if now.state == records.NOT_SUBMITTED:
        raise one_job.never_submitted(record)
    if now.forgotten:
        raise JobError(f"{record.job_id} cannot be paused: {now.error}.", "python launch.py jobs")
    if now.over and not place.names(record.job_dir):
        raise JobError(f"{record.job_id} cannot be paused: it is over, and its directory is gone: {record.job_dir}.")
    if resume.finished(record, now, place):
        raise JobError(f"run {record.run_name} is finished: there is nothing to pause.")
    spent = history.is_spent(history.attempts(record.run_dir, place), record.job_id) if now.over else None
    if spent:
        raise JobError(f"{record.job_id} cannot go on, so there is nothing to pause: {spent}.")


COMMAND = Pause()
