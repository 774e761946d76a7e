"""`jobs`, `status`, `attach`, `logs` and `cancel`: commands about jobs that were submitted, from any shell, later."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from automodel_launch import executors, workspace
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs import history, records, rundir
from automodel_launch.jobs.jobdir import JobDir, parse
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import follow
from automodel_launch.plan import secrets
from automodel_launch.remote.filesystem import FileSystem

LATE_S = 30.0  # after stop_grace, for the agents to kill and to write down what was
STOP = "stop"  # the file that stops a job, or all jobs of a run (recipes/node_agent_lib/stops.py)
AT_ONCE = 8  # sshd takes 10 sessions a connection unless it was told otherwise


def jobs(args: argparse.Namespace) -> int:
    """A line a job, oldest first."""
    folder = workspace.find(args.env).records
    found = records.all_records(folder)
    with ThreadPoolExecutor(AT_ONCE) as pool:  # a status is mostly waiting, for Slurm or for a host
        rows = list(zip(found, pool.map(lambda record: record.final or _status(record), found), strict=True))
    for record, now in rows:
        records.remember(folder, record, now)
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
    _reachable(record, now)
    _remember(args, record, now)
    if args.json:
        tried = history.attempts(record.run_dir, _dir(record).place)
        print(json.dumps({**_row(record, now), "metrics": _dir(record).last_metrics(), "history": tried}, indent=1))
    else:
        print(follow.closing_block(record, now))
    return 0


def attach(args: argparse.Namespace) -> int:
    """Follow a job from its first line to its end."""
    record = _find(args)
    now = _status(record)
    _reachable(record, now)
    if now.state == "UNKNOWN" and (now.forgotten or executors.get(record.executor).here):
        raise JobError(f"{record.job_id}: {now.error}.")
    follower = follow.Follower(record, ranks=[0], out=sys.stderr if args.json else sys.stdout)
    end, code = follower.run()
    _remember(args, record, end)
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
    present = job.ranks()
    tails = {rank: follow.Tail(job.log(rank)) for rank in (present if ranks is None else ranks) if rank in present}
    for rank, tail in tails.items():  # one after the other; --follow mixes them, in the order of time
        mark = f"[{rank}] " if ranks is None else ""
        for _, line in follow.new_lines({rank: tail}, job.place, last=True):
            print(f"{mark}{line}")
    if not tails:  # it ended before the first rank began, or has not come to it yet
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
    end, pause = _status(record), 0.2
    grace = record.handle.get("stop_grace")  # where nobody else keeps that time, or an agent may be missing
    patience = time.monotonic() + grace + LATE_S if grace else float("inf")
    while not end.over and not end.forgotten:
        time.sleep(pause)
        if time.monotonic() > patience:
            sys.stderr.write(f"{record.job_id} has not ended within its stop_grace: killing it\n")
            executors.get(record.executor).cancel(record, now=True)
            patience = float("inf")
        end, pause = _status(record), min(pause * 1.5, executors.get(record.executor).poll_s)
    _remember(args, record, end)
    print(json.dumps(_row(record, end)) if args.json else f"{record.job_id}: {end.state}")
    return 0


def pause(args: argparse.Namespace) -> int:
    """Stop a run until it is resumed: the job, its further attempts, and any other job of the run."""
    record = _find(args)
    _dir(record).place.put(record.run_dir, {}, {STOP: "pause\n"})
    sys.stderr.write(f"{record.run_name} is paused; `python launch.py resume {record.job_id}` goes on\n")
    if _status(record).over:
        print(json.dumps(_row(record, _status(record))) if args.json else f"{record.job_id}: paused")
        return 0
    args.now = False
    return cancel(args)


def resume(args: argparse.Namespace) -> int:
    """A further attempt at a job that is over: same script, same code, from the run's last checkpoint."""
    record = _find(args)
    before, place = _status(record), _dir(record).place
    _reachable(record, before)
    if not before.over:
        raise JobError(f"{record.job_id} is not over: {before.state}.", f"python launch.py attach {record.job_id}")
    end = rundir.finished(record.run_dir, place)
    if before.state == "COMPLETED" or (end and (end.get("step") or 0) >= (record.max_steps or 0)):
        sys.stderr.write(f"run {record.run_name} is finished; nothing was started\n")
        print(json.dumps(_row(record, before)) if args.json else f"{record.job_id}: {before.state}")
        return 0
    _restore_secrets(record, place)
    for folder in (record.job_dir, record.run_dir):
        place.remove(f"{folder}/{STOP}")
    record = replace(record, handle=executors.get(record.executor).resume(record), end=None)
    records.save(workspace.find(args.env).records, record)
    if args.json:
        print(json.dumps(asdict(record)))
    else:
        print(record.job_id)
    sys.stderr.write(f"{record.job_id} goes on; follow it with `python launch.py attach {record.job_id}`\n")
    return 0


def _restore_secrets(record: Record, place: FileSystem) -> None:
    """The former attempt has removed them; their names are in the plan."""
    agent, plan = (
        parse((place.read(f"{record.job_dir}/{name}") or (b"", 0))[0]) for name in ("agent.json", "plan.json")
    )
    path, names = (agent or {}).get("secrets_file"), (plan or {}).get("secrets") or []
    if not path or place.read(path) is not None:
        return
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise JobError(f"{record.job_id} needs {', '.join(unset)}, which this shell has not.", f"export {unset[0]}=...")
    secrets.write(place, path, secrets.file_content(names, os.environ))


def _find(args: argparse.Namespace) -> Record:
    return records.find(workspace.find(args.env).records, args.job)


def _remember(args: argparse.Namespace, record: Record, now: Status) -> None:
    records.remember(workspace.find(args.env).records, record, now)


def _dir(record: Record) -> JobDir:
    return JobDir(record.job_dir, executors.get(record.executor).place_of(record))


def _status(record: Record) -> Status:
    now = executors.get(record.executor).status(record)
    return record.last_end or now if now.forgotten else now


def _reachable(record: Record, now: Status) -> None:
    """Say of a state that is not known whether the place of the job can be reached at all.

    Raises:
        ClusterError: it cannot.
    """
    if now.state == "UNKNOWN":
        _dir(record).place.names(record.job_dir)


def _row(record: Record, now: Status) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(record).items() if key != "end"}, **asdict(now)}


def _ranks(wanted: str, job: JobDir, record: Record) -> list[int] | None:
    if wanted == "all":
        return None
    if not (wanted.isascii() and wanted.isdigit()):
        raise UsageError(f"--rank {wanted}: expected a global rank (0, 1, ...) or `all`.")
    present = job.ranks()
    if present and int(wanted) not in present:
        raise JobError(f"{record.job_id} has no rank {wanted}; ranks: 0 to {present[-1]}.")
    return [int(wanted)]
