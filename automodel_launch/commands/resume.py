"""`resume JOB`: a further attempt at a job that is over."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from automodel_launch import contract, data_identity, workspace
from automodel_launch.commands import console, one_job
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, PlanRefused
from automodel_launch.jobs import history, records, rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.remote.filesystem import LOCAL, FileSystem


class Resume(JobCommand):
    """Start a job that is over once more."""

    name = "resume"

    def run(self, args: argparse.Namespace) -> int:
        """Submit it again.

        Raises:
            JobError: it is not over, was never submitted, has used up its GPU-hours, or needs a secret that this shell
                has not.
            PlanRefused: the run began with other data.
        """
        from automodel_launch.launch import resume

        record = self.find(args)
        before, place = one_job.status(record), one_job.directory(record).place
        one_job.reachable(record, before)
        if not before.over:
            raise JobError(f"{record.job_id} is not over: {before.state}.", f"python launch.py attach {record.job_id}")
        if before.state == records.NOT_SUBMITTED:
            raise one_job.never_submitted(record)
        if resume.finished(record, before, place):
            console.say(f"run {record.run_name} is finished; nothing was started")
            if args.json:
                console.document(one_job.row(record, before), indent=None)
            else:
                console.out(f"{record.job_id}: {before.state}")
            return 0
        spent = history.is_spent(history.attempts(record.run_dir, place), record.job_id)
        if spent:
            fix = "launch it again with a higher max_gpu_hours: the same run goes on as a new job"
            raise JobError(f"{record.job_id} cannot go on: {spent}.", fix)
        _refuse_other_data(record, place)
        interrupts = Interrupts()
        folder = workspace.find(args.env).records
        record = resume.resume(folder, record, os.environ, interrupts, console.say)
        if args.json:
            console.document(asdict(record), indent=None)
        else:
            console.out(record.job_id)
        console.say(f"{record.job_id} goes on; follow it with `python launch.py attach {record.job_id}`")
        return 128 + interrupts.received[0][0] if interrupts.received else 0


def _refuse_other_data(record: Record, place: FileSystem) -> None:
    """Where this machine sees the data; elsewhere the job itself looks, before its first step."""
    names = (contract.AGENT, contract.PLAN)
    agent, plan = (parse((place.read(f"{record.job_dir}/{name}") or (b"", 0))[0]) or {} for name in names)
    data = agent.get("data") or {}
    named = data.get("named")
    if not named or place != LOCAL:
        return
    mounts = [[target, source] for source, target in (text.split(":")[:2] for text in plan.get("mounts") or [])]
    now = data_identity.look(named, mounts)
    changed = data_identity.compare(rundir.data(record.run_dir), now)
    if changed and data.get("allow") not in (True, now["digest"]):
        message = f"{record.job_id} was not resumed: run {record.run_name} began with other data: {'; '.join(changed)}."
        fix = "give it those data again; the same launch with run.data_changed=allow goes on with these"
        raise PlanRefused(message, fix)


COMMAND = Resume()
