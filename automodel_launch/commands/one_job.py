"""What the commands about one job share: the argument JOB, the job's state, and its row of JSON."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any, ClassVar

from automodel_launch import contract, executors, workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Parser
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs import launcher, pipelines, records
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import evaluation_jobs, state, waiting
from automodel_launch.launch.interrupts import Interrupts

ALL = ("all", "*", "--all")


class JobCommand(Command):
    """A command about one job. `bare`: without a JOB it takes the last one, and says which; else it has to be named."""

    bare: ClassVar[bool] = False
    while_submitting: ClassVar[bool] = False  # it can say something of a job that another launcher is submitting

    @property
    def usage(self) -> dict[str, str]:
        """JOB has to be there, or may be."""
        return {} if self.bare else {"[JOB]": "JOB"}

    def register(self, parser: Parser) -> None:
        """JOB."""
        default = " (default: last)" if self.bare else ""
        text = f"a job's id, its unique beginning, a run's name, or `last`{default}"
        parser.add_argument("job", metavar="JOB", nargs="?", help=text)

    def find(self, args: argparse.Namespace) -> Record:
        """The record of the job that was named.

        Raises:
            UsageError: none was named, and this command does not choose one.
            JobError: there is no such job, or it is being submitted.
            ClusterError: whether it was submitted cannot be told now.
        """
        folder = workspace.find(args.env).records
        if args.job is None and not self.bare:
            raise self._unnamed(folder)
        if args.job in ALL and not any(record.run_name == args.job for record in records.all_records(folder)):
            raise UsageError(
                f"{self.name} {args.job}: one job a call.", f"python launch.py jobs; python launch.py {self.name} JOB"
            )
        wanted = "last" if args.job is None else args.job
        evaluation_jobs.adopt_named(folder, wanted)
        record = pipelines.job(folder, wanted)
        if args.job is None:
            console.say(f"the last job: {record.job_id}")
        record = state.complete(folder, record)
        if not self.while_submitting and launcher.is_at_it(record):
            raise JobError(f"{record.job_id} is being submitted now.", f"python launch.py status {record.job_id}")
        lacking = None if record.launcher or self.while_submitting else state.lacks(record)
        if lacking:
            raise JobError(f"{record.job_id}: {lacking}.", f"see {folder}/{record.job_id}.json, and {record.job_dir}")
        return record

    def _unnamed(self, folder: Any) -> UsageError:
        known = [record for record in records.all_records(folder) if record.beside is None]
        hint = f"python launch.py {self.name} {known[-1].job_id} (the last job)" if known else "python launch.py jobs"
        return UsageError(f"{self.name}: which JOB? It is never chosen for you.", hint)


def directory(record: Record) -> JobDir:
    """The job's directory."""
    return JobDir(record.job_dir, executors.get(record.executor).place_of(record))


def keep_stopped(record: Record) -> None:
    """Make the run's stop file: no job of it begins. It is empty, since a full disk has room for that.

    Raises:
        ClusterError: it cannot be made.
    """
    directory(record).place.put(record.run_dir, {}, {contract.STOP: ""})


def status(record: Record) -> Status:
    """The job's state now; the end that was seen, where nobody knows the job any longer."""
    return waiting.of(record)


def without_directory(record: Record) -> str | None:
    """What to say where a job's directory was removed: nothing can be read of it, which is not to have written nothing.

    Raises:
        ClusterError: its place cannot be reached.
    """
    there = directory(record).place.names(record.job_dir)
    return None if there else f"{record.job_id}: its directory is gone: {record.job_dir}"


def never_submitted(record: Record) -> JobError:
    """What to say to somebody who wants to follow, or resume, a job that its launcher did not come to submit."""
    return JobError(f"{record.job_id} was never submitted: its launcher ended before that.", state.launch_again(record))


def reachable(record: Record, now: Status) -> None:
    """Find out of a state that is not known whether the place of the job can be reached at all.

    Raises:
        ClusterError: it cannot.
    """
    if now.state == "UNKNOWN":
        directory(record).place.names(record.job_dir)


def remember(args: argparse.Namespace, record: Record, now: Status) -> None:
    """Keep the end of a job."""
    records.remember(workspace.find(args.env).records, record, now)


def follow(
    args: argparse.Namespace, record: Record, interrupts: Interrupts | None = None, *, own: bool = False
) -> tuple[Status, int]:
    """Follow a job to its end, with rank 0's log, and keep that end; with the exit code. `own`: started just now."""
    from automodel_launch.launch import follow as following

    out = sys.stderr if args.json else sys.stdout
    verbose = getattr(args, "verbose", False)  # `pipeline` has no such option
    follower = following.Follower(record, ranks=[0], out=out, own=own, verbose=verbose)
    status, code = follower.run(interrupts)
    remember(args, record, status)
    return status, code


def row(record: Record, now: Status) -> dict[str, Any]:
    """A job as JSON data."""
    return {**{key: value for key, value in asdict(record).items() if key != "end"}, **asdict(now)}
