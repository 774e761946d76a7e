"""`status [JOB]`: one job's state, how far it is, what was launched, its error, and where its result is."""

from __future__ import annotations

import argparse
import functools
import time
from typing import Any

from automodel_launch import executors
from automodel_launch.commands import (
    console,
    evaluations_line,
    goodput_line,
    job_view,
    one_job,
    one_pipeline,
    one_sweep,
)
from automodel_launch.commands.job_view import Screen
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.commands.watch import WATCH, Pause, watching
from automodel_launch.errors import ClusterError, UsageError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import closing
from automodel_launch.launch.follow import FORGOTTEN_S
from automodel_launch.launch.glance import Glance, Looker
from automodel_launch.launch.pace import Pace


class ShowStatus(JobCommand):
    """One job now; with -w until it ends."""

    name = "status"
    bare = True
    while_submitting = True
    options = (WATCH,)

    def run(self, args: argparse.Namespace) -> int:
        """Ask for its state, and print it with every attempt at its run; with -w the job's own exit code."""
        sweep = one_sweep.named(args)
        if sweep is not None and args.watch:
            raise UsageError(
                f"status {sweep.name} -w: it is a sweep, and -w looks at one job.", "python launch.py jobs -w"
            )
        if sweep is not None:
            return one_sweep.status(args, sweep)
        pipeline = one_pipeline.named(args)
        if pipeline is not None and args.watch:
            raise UsageError(
                f"status {pipeline.name} -w: it is a pipeline, and -w looks at one job.", "python launch.py jobs -w"
            )
        if pipeline is not None:
            return one_pipeline.status(args, pipeline)
        record = self.find(args)
        now = one_job.status(record)
        one_job.reachable(record, now)
        if args.watch and now.state != records.NOT_SUBMITTED:
            return _watch(args, record)
        one_job.remember(args, record, now)
        if args.json:
            more = {**goodput_line.document(record), "evaluations": evaluations_line.document(args, record)}
            console.document(_document(record, now, _seen(record, now)) | more)
        else:
            console.out(_text(args, record, now))
        return 0


def _seen(record: Record, now: Status, looker: Looker | None = None) -> Glance | None:
    """None where its files cannot be read now."""
    if now.state == records.NOT_SUBMITTED:
        return None
    try:
        return (looker or Looker(record)).look(now)
    except ClusterError:
        return None


def _text(args: argparse.Namespace, record: Record, now: Status) -> str:
    seen = _seen(record, now)
    now = job_view.advised(now, seen)
    block = closing.closing_block(record, now, more=list(job_view.told(record, now, seen)) if seen else ())
    further = job_view.go_on(record, now, seen) if seen else None
    last = f"  go on: {further}" if further else None
    return "\n".join(
        filter(None, (block, *goodput_line.lines(record, now), *evaluations_line.lines(args, record), last))
    )


def _document(record: Record, now: Status, seen: Glance | None) -> dict[str, Any]:
    return {
        **one_job.row(record, job_view.advised(now, seen)),
        "phase": seen.phase[0] if seen and seen.phase else None,
        "metrics": seen.steps[-1] if seen and seen.steps else None,
        "history": seen.attempts if seen else [],
        "progress": seen.speed.document() if seen else None,
        "launched": seen.launched.document() if seen else None,
        "warnings": seen.warnings if seen else [],
        "slow_rank": seen.slow_rank.document() if seen and seen.slow_rank else None,
        "go_on": job_view.go_on(record, now, seen) if seen else None,
    }


def _watch(args: argparse.Namespace, record: Record) -> int:
    """Until the job has ended, or somebody leaves. What was seen last stays on the terminal."""
    looker, said, quickest_s = Looker(record), "", executors.get(record.executor).poll_s
    pause, pace, now = Pause(quickest_s), Pace(quickest_s), Status("UNKNOWN")
    lost: float | None = None  # since when nobody knows it; a network file system may show its record late
    with watching(args.json) as watcher:
        while True:
            if looker.tells_news or pace.due:
                now = one_job.status(record)
                pace.note(now)
            seen = _seen(record, now, looker)
            news, line = job_view.change(now, seen)
            if watcher.draw is None and news != said:
                _tell(args, record, now, seen, line)
            lost = (lost or time.monotonic()) if now.forgotten else None
            if now.over or (lost is not None and time.monotonic() - lost > FORGOTTEN_S):
                break
            watcher.wait(pause.after(news != said), functools.partial(_screen, record, now, seen))
            said = news
            if watcher.left:
                break
    if now.over:
        one_job.remember(args, record, now)
    if watcher.draw is not None:
        console.out(_text(args, record, now))
    if watcher.left:
        console.say(f"stopped watching; {record.job_id} goes on")
        return watcher.code
    return closing.exit_code(now)


def _screen(record: Record, now: Status, seen: Glance | None, at: Screen) -> list[str]:
    if seen is not None:
        return job_view.screen(record, now, seen, at)
    words = [
        f"{record.job_id}  {now.state}",
        now.error or now.reason or "its files cannot be read now",
        "",
        "Ctrl-C leaves",
    ]
    return [console.cut(line, at.columns) for line in words][: at.rows]


def _tell(args: argparse.Namespace, record: Record, now: Status, seen: Glance | None, line: str) -> None:
    if args.json:
        console.document(_document(record, now, seen), indent=None)
    else:
        console.out(line)
    console.flush()


COMMAND = ShowStatus()
