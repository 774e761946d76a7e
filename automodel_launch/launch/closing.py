"""What is said of a job that was followed to its end, and of one that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import records
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.launch import waiting as waiting_
from automodel_launch.launch.progress import waiting
from automodel_launch.remote.filesystem import FileSystem


def exit_code(status: Status) -> int:
    """The job's own code; 1 where a job that did not complete has none."""
    if status.state == "COMPLETED":
        return 0
    code = status.code or 1
    return 128 - code if code < 0 else code  # a negative one is a signal's number


def closing_block(record: Record, status: Status) -> str:
    """What happened, in a few lines: state, first error with rank and node, where to look, where the result is."""
    lines = [f"{record.job_id}: {status.state}" + (f", exit code {status.code}" if status.code else "")]
    if status.state == records.NOT_SUBMITTED:
        return "\n".join([*lines, f"  {status.error}", f"  {state.launch_again(record)}"])
    if status.error:
        where = f" (rank {status.rank} on {status.node})" if status.rank is not None else ""
        lines.append(f"  {'error' if status.over else 'why'}: {status.error}{where}")
    if status.reason:
        lines.append(f"  {waiting_.words(status)}" if status.state == "PENDING" else f"  why: {status.reason}")
    if status.advice:
        lines.append(f"  what to do: {status.advice}")
    if status.log and status.state != "COMPLETED":
        lines.append(f"  log: {record.job_dir}/{status.log}")
    try:
        lines += _phase(record, status)
        place = executors.get(record.executor).place_of(record)
        if status.over and not place.names(record.job_dir):
            lines.append(f"  its directory is gone: {record.job_dir}")
        lines += _results(record, status, place)
    except ClusterError as error:  # the state above is true all the same
        lines.append(f"  what it has written cannot be read now: {error.message}")
    if not status.over and not status.forgotten and status.reason != records.DIRECTORY_GONE:
        lines.append(f"  follow: python launch.py attach {record.job_id}")
    elif status.state not in ("COMPLETED", contract.RUNNING):
        lines.append(f"  all logs: python launch.py logs {record.job_id} --rank all")
    return "\n".join(lines)


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


def _results(record: Record, status: Status, place: FileSystem) -> Iterator[str]:
    from automodel_launch.jobs import history, rundir

    tried = history.attempts(record.run_dir, place)
    if len(tried) > 1 or (status.state != "COMPLETED" and any(row.get("why") for row in tried)):
        yield f"  run {record.run_name}, {len(tried)} attempt{'s' if len(tried) > 1 else ''}:"
        yield from (f"    {line}" for line in history.table(tried))
    spent = _gpu_hours(record, status, tried, place)
    if spent:
        yield f"  {spent}"
    last = JobDir(record.job_dir, place).last_metrics()
    if last:
        yield f"  last step: {last.get('step')}, loss {last['loss']}"
    end = rundir.finished(record.run_dir, place) if status.state == "COMPLETED" else None
    if end:
        yield f"  checkpoint: {end.get('checkpoint')}"
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
