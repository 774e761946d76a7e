"""`jobs`, `status`, `attach`, `logs` and `cancel`: commands about jobs that were submitted, from any shell, later."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from automodel_launch import executors, follow, workspace
from automodel_launch import jobs as records
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobdir import JobDir
from automodel_launch.jobs import Record, Status


def jobs(args: argparse.Namespace) -> int:
    """A line a job, oldest first."""
    rows = [(record, _status(record)) for record in records.all_records(workspace.find(args.env).records)]
    if args.json:
        print(json.dumps([_row(record, status) for record, status in rows], indent=1))
        return 0
    width = max((len(record.job_id) for record, _ in rows), default=0)
    for record, status in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.submitted))
        step = f"step {status.step}" if status.step is not None else ""
        print(f"{record.job_id:<{width}}  {status.state:<10} {record.profile:<10} {when}  {step}".rstrip())
    return 0


def status(args: argparse.Namespace) -> int:
    """One job: state, error, last step, where its result is."""
    record = _find(args)
    now = _status(record)
    if args.json:
        print(json.dumps({**_row(record, now), "metrics": _dir(record).last_metrics()}, indent=1))
    else:
        print(follow.closing_block(record, now))
    return 0


def attach(args: argparse.Namespace) -> int:
    """Follow a job from its first line to its end."""
    record = _find(args)
    if not _status(record).over and _status(record).state == "UNKNOWN":
        raise JobError(f"{record.job_id}: {_status(record).error}.")
    follower = follow.Follower(record, ranks=[0], out=sys.stderr if args.json else sys.stdout)
    end, code = follower.run()
    if args.json:
        print(json.dumps(_row(record, end)))
    sys.stderr.write(follow.closing_block(record, end) + "\n")
    return code


def logs(args: argparse.Namespace) -> int:
    """Print what a rank, or all of them, has logged; with --follow until the job's end."""
    record = _find(args)
    job = _dir(record)
    ranks = _ranks(args.rank, job, record)
    if args.follow and not _status(record).over:
        return follow.Follower(record, ranks=ranks).run()[1]
    shown = job.ranks() if ranks is None else ranks
    for rank in shown:
        mark = f"[{rank}] " if len(shown) > 1 else ""
        for line in follow.Tail(job.log(rank), place=job.place).lines(last=True):
            print(f"{mark}{line}")
    if not shown:  # it ended before the first rank began, or has not come to it yet
        print(job.agent_log() or "", end="")
    return 0


def cancel(args: argparse.Namespace) -> int:
    """Stop a job and wait until it has ended."""
    record = _find(args)
    before = _status(record)
    if before.over:
        raise JobError(f"{record.job_id} has already ended: {before.state}.")
    executors.get(record.executor).cancel(record, now=args.now)
    sys.stderr.write(f"stopping {record.job_id}{'' if args.now else '; it may save a checkpoint first'} ...\n")
    while not (end := _status(record)).over:
        time.sleep(0.2)
    print(json.dumps(_row(record, end)) if args.json else f"{record.job_id}: {end.state}")
    return 0


def _find(args: argparse.Namespace) -> Record:
    return records.find(workspace.find(args.env).records, args.job)


def _dir(record: Record) -> JobDir:
    return JobDir(record.job_dir, executors.get(record.executor).place_of(record))


def _status(record: Record) -> Status:
    return executors.get(record.executor).status(record)


def _row(record: Record, now: Status) -> dict[str, Any]:
    return {**asdict(record), **asdict(now)}


def _ranks(wanted: str, job: JobDir, record: Record) -> list[int] | None:
    if wanted == "all":
        return None
    if not (wanted.isascii() and wanted.isdigit()):
        raise UsageError(f"--rank {wanted}: expected a global rank (0, 1, ...) or `all`.")
    present = job.ranks()
    if present and int(wanted) not in present:
        raise JobError(f"{record.job_id} has no rank {wanted}; ranks: 0 to {present[-1]}.")
    return [int(wanted)] if present else None
