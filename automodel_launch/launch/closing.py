"""What is said of a job that was followed to its end, and of one that is asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import records
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import around, state
from automodel_launch.launch import waiting as waiting_
from automodel_launch.launch.progress import waiting
from automodel_launch.remote.filesystem import FileSystem

_LABEL = re.compile(r"^\s*error:\s+(?=\S)", re.IGNORECASE)  # its own words begin so where a log's line is the error


def exit_code(status: Status) -> int:
    """The job's own code; 1 where a job that did not complete has none."""
    if status.state == "COMPLETED":
        return 0
    code = status.code or 1
    code = 128 - code if code < 0 else code  # a negative one is a signal's number
    return code if code < 256 else 1  # of 256 a shell would see 0


def without_label(error: str) -> str:
    """The words of an error, for a line that calls it one."""
    return _LABEL.sub("", error)


def closing_block(record: Record, status: Status, seen: Collection[int] = (), more: Sequence[str] = ()) -> str:
    """What happened, in a few lines: state, first error with rank and node, where to look, where the result is.

    `seen`: ranks whose logs stand above it, so that the lines around the error need not be told again.
    `more`: lines in place of the last step's.
    """
    lines = [f"{record.job_id}: {status.state}" + (f", exit code {status.code}" if status.code else "")]
    if status.state == records.NOT_SUBMITTED:
        return "\n".join([*lines, f"  {status.error}", f"  {state.launch_again(record)}"])
    if status.error:
        where = f" (rank {status.rank} on {status.node})" if status.rank is not None else ""
        lines.append(f"  {'error' if status.over else 'why'}: {without_label(status.error)}{where}")
    if status.reason:
        lines.append(f"  {waiting_.words(status)}" if status.state == "PENDING" else f"  why: {status.reason}")
    if status.cause:
        lines.append(f"  cause: {status.cause}")
    if status.advice:
        lines.append(f"  what to do: {status.advice}")
    if status.log and status.state != "COMPLETED":
        lines.append(f"  log: {record.job_dir}/{status.log}")
    try:
        lines += _around(record, status, seen)
        lines += _phase(record, status)
        place = executors.get(record.executor).place_of(record)
        if status.over and not place.names(record.job_dir):
            lines.append(f"  its directory is gone: {record.job_dir}")
        lines += more
        lines += _results(record, status, place, bool(more))
    except ClusterError as error:  # the state above is true all the same
        lines.append(f"  what it has written cannot be read now: {error.message}")
    if not status.over and not status.forgotten and status.reason != records.DIRECTORY_GONE:
        lines.append(f"  follow: python launch.py attach {record.job_id}")
    elif status.state not in ("COMPLETED", contract.RUNNING):
        lines.append(f"  all logs: python launch.py logs {record.job_id} --rank all")
    return "\n".join(lines)


def _around(record: Record, status: Status, seen: Collection[int]) -> Iterator[str]:
    """The lines around the first error, and how many ranks have said the same."""
    if not status.over or status.state == contract.COMPLETED or not (status.error and status.log):
        return
    job = JobDir(record.job_dir, executors.get(record.executor).place_of(record))
    if status.rank not in seen:
        yield from (f"    | {line}" for line in around.lines(job, status))
    same = around.others(job, status) if status.rank is not None else 0
    if same:
        yield f"  the same on {same} further rank{'s' if same > 1 else ''}"


def _phase(record: Record, status: Status) -> Iterator[str]:
    """What a job that runs is at, where that is no step."""
    if status.state != contract.RUNNING or status.reason == records.DIRECTORY_GONE:
        return
    found = JobDir(record.job_dir, executors.get(record.executor).place_of(record)).phase()
    if found is None:
        return
    phase, seconds = found
    if status.step is None:
        yield f"  {waiting(phase, seconds)}"
    elif seconds is not None:
        yield f"  now: {phase}, {seconds:.0f} s"


def _results(record: Record, status: Status, place: FileSystem, step_is_told: bool) -> Iterator[str]:
    from automodel_launch.jobs import history, rundir

    tried = history.closed(history.attempts(record.run_dir, place), record.job_id, status)
    if len(tried) > 1 or (status.state != "COMPLETED" and any(row.get("why") for row in tried)):
        yield f"  run {record.run_name}, {len(tried)} attempt{'s' if len(tried) > 1 else ''}:"
        yield from (f"    {line}" for line in history.table(tried))
    spent = _gpu_hours(record, status, tried, place)
    if spent:
        yield f"  {spent}"
    last = None if step_is_told else JobDir(record.job_dir, place).last_metrics(status.started)
    if last:
        yield f"  last step: {last.get('step')}, loss {'nan' if last['loss'] is None else last['loss']}"
    end = rundir.finished(record.run_dir, place) if status.state == "COMPLETED" else None
    if end and end.get("checkpoint"):  # an evaluation has none
        yield f"  checkpoint: {end['checkpoint']}"
        if end.get("hf"):
            yield f"  for transformers: {end['hf']}"


def _gpu_hours(record: Record, status: Status, tried: list[dict[str, Any]], place: FileSystem) -> str | None:
    """What a job with max_gpu_hours has used of them; until its last sign of life where it died without a word."""
    from automodel_launch.jobs import history

    if not any("gpus" in row for row in tried):
        return None
    job = JobDir(record.job_dir, place)
    limit = ((job.agent_order() or {}).get("chain") or {}).get(contract.MAX_GPU_HOURS)
    alive = status.ended or (job.node(0) or {}).get("time") if status.over else None
    used = history.gpu_hours(tried, record.job_id, alive or time.time())
    return f"GPU-hours: {used:.3g} of {limit:g} (max_gpu_hours)" if isinstance(limit, int | float) else None
