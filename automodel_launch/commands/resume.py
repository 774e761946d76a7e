"""`resume JOB`: a further attempt at a job that is over: same script, same code, from the run's last checkpoint."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, replace
from typing import Any

from automodel_launch import contract, data_identity, executors, workspace
from automodel_launch.commands import console, one_job
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, PlanRefused
from automodel_launch.jobs import history, records, rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, Status
from automodel_launch.plan import secrets
from automodel_launch.remote.filesystem import LOCAL, FileSystem


class Resume(JobCommand):
    """Start a job that is over once more."""

    name = "resume"

    def run(self, args: argparse.Namespace) -> int:
        """Submit it again.

        Raises:
            JobError: it is not over, has used up its GPU-hours, or needs a secret that this shell has not.
            PlanRefused: the run began with other data.
        """
        record = self.find(args)
        before, place = one_job.status(record), one_job.directory(record).place
        one_job.reachable(record, before)
        if not before.over:
            raise JobError(f"{record.job_id} is not over: {before.state}.", f"python launch.py attach {record.job_id}")
        if _finished(record, before, place):
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
        _restore_secrets(record, place)
        for folder in (record.job_dir, record.run_dir):
            place.remove(f"{folder}/{contract.STOP}")
        record = replace(record, handle=executors.get(record.executor).resume(record), end=None, launcher=None)
        records.save(workspace.find(args.env).records, record)
        if args.json:
            console.document(asdict(record), indent=None)
        else:
            console.out(record.job_id)
        console.say(f"{record.job_id} goes on; follow it with `python launch.py attach {record.job_id}`")
        return 0


def _finished(record: Record, before: Status, place: FileSystem) -> bool:
    end = rundir.finished(record.run_dir, place)
    return before.state == "COMPLETED" or bool(end and (end.get("step") or 0) >= (record.max_steps or 0))


def _of_job(record: Record, place: FileSystem) -> tuple[dict[str, Any], dict[str, Any]]:
    """agent.json and plan.json."""
    names = (contract.AGENT, contract.PLAN)
    agent, plan = (parse((place.read(f"{record.job_dir}/{name}") or (b"", 0))[0]) or {} for name in names)
    return agent, plan


def _refuse_other_data(record: Record, place: FileSystem) -> None:
    """Where this machine sees the data; elsewhere the job itself looks, before its first step."""
    agent, plan = _of_job(record, place)
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


def _restore_secrets(record: Record, place: FileSystem) -> None:
    """The former attempt has removed them; their names are in the plan."""
    agent, plan = _of_job(record, place)
    path, names = agent.get("secrets_file"), plan.get("secrets") or []
    if not path or place.read(path) is not None:
        return
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise JobError(f"{record.job_id} needs {', '.join(unset)}, which this shell has not.", f"export {unset[0]}=...")
    secrets.write(place, path, secrets.file_content(names, os.environ))


COMMAND = Resume()
