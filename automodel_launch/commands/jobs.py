"""`jobs`: every job that was submitted from here, with its state, its step and loss, and why it waits or has failed."""

from __future__ import annotations

import argparse
import functools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automodel_launch import contract, workspace
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Command
from automodel_launch.commands.job_view import Screen
from automodel_launch.commands.watch import WATCH, Pause, watching
from automodel_launch.jobs import pipelines, records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import evaluation_jobs, waiting
from automodel_launch.launch.asked import quickest_s
from automodel_launch.launch.places import FIRST_S, Places, Seen
from automodel_launch.launch.progress import clock
from automodel_launch.launch.speed import Speed

_HEAD = ("JOB", "STATE", "PROFILE", "SUBMITTED", "STEP", "LOSS", "LEFT", "WHY")

Row = tuple[Record, Status, Speed, tuple[str, str] | None]  # the last: the pipeline and the step that it is of


class Jobs(Command):
    """A line a job, oldest first."""

    name = "jobs"
    options = (WATCH,)

    def run(self, args: argparse.Namespace) -> int:
        """Ask for all states, and print them; with -w until all have ended."""
        folder = workspace.find(args.env).records
        for path in records.unreadable(folder):
            console.say(f"left out: {path} is no record of a job that this version can read")
        if args.watch:
            return _watch(folder, args.json)
        places = Places(folder)
        rows = _look(folder, places, None if args.json else FIRST_S)
        if args.json:
            console.document([_document(row) for row in rows])
        elif rows:
            _print(folder, rows, places)
        else:
            console.say("no job was submitted from here yet")
        steps = pipelines.names(folder)
        if steps:
            console.say(f"pipelines: {console.listed(steps[::-1])}; `python launch.py status PIPELINE` shows its steps")
        names = sweeps.names(folder)
        if names:
            console.say(f"sweeps: {console.listed(names[::-1])}; `python launch.py status SWEEP` shows its points")
        return 0


def _look(folder: Path, places: Places, patience_s: float | None = FIRST_S) -> list[Row]:
    return _rows(folder, places.look(records.all_records(folder), patience_s))


def _rows(folder: Path, seen: Sequence[Seen]) -> list[Row]:
    steps = pipelines.of_runs(folder)
    return [(record, now, fast, steps.get(record.run_name)) for record, now, fast in seen]


def _print(folder: Path, rows: Sequence[Row], places: Places) -> None:
    """Those that are known first, then those of places that take their time."""
    columns = console.width() if console.is_terminal() else None
    late = {job_id for ids in places.late.values() for job_id in ids}
    known = [row for row in rows if row[0].job_id not in late]
    if known:
        console.out("\n".join(_table(known, columns)))
        _tell_evaluated(known)
        console.flush()
    if not late:
        return
    if known:
        told = (f"{name} ({len(ids)} job{'s'[: len(ids) - 1]})" for name, ids in places.late.items())
        console.say(f"not answered yet: {', '.join(told)}; Ctrl-C leaves")
    rest = _rows(folder, places.rest())
    console.out("\n".join(_table(rest, columns)))
    _tell_evaluated(rest)


def _document(row: Row) -> dict[str, Any]:
    record, now, fast, step = row
    pipeline = dict(zip(("pipeline", "step"), step, strict=True)) if step else None
    return {**one_job.row(record, now), "progress": fast.document(), "of": pipeline}


def _is_evaluated(row: Row) -> bool:
    """An evaluation that `on_checkpoint` had submitted, with its result: a run has one for each checkpoint."""
    return row[0].beside is not None and row[1].state == contract.COMPLETED


def _tell_evaluated(rows: Sequence[Row]) -> None:
    done = Counter(row[0].beside for row in rows if _is_evaluated(row))
    for run, count in done.items():
        many = console.many(count, "evaluation")
        console.say(f"{many} of {run} COMPLETED: `python launch.py checkpoints {run}` shows the losses")


def _table(rows: Sequence[Row], columns: int | None) -> list[str]:
    """With a header, without columns in which nothing stands; cut to so many columns, where they are counted."""
    cells = [_HEAD, *(_cells(row) for row in rows if not _is_evaluated(row))]
    filled = [number for number in range(len(_HEAD)) if any(row[number] for row in cells[1:])]
    lines = console.table([[row[number] for number in filled or range(len(_HEAD))] for row in cells])
    return [console.cut_end(line, columns) for line in lines] if columns else lines


def _cells(row: Row) -> tuple[str, ...]:
    record, now, fast, of = row
    step = "" if fast.done is None else f"{fast.done}/{fast.max_steps}" if fast.max_steps else str(fast.done)
    loss = "" if fast.done is None or not fast.is_logged else "nan" if fast.loss is None else f"{fast.loss:.4f}"
    left = "" if fast.left_s is None else clock(fast.left_s)
    head = record.job_id, now.state, record.profile, console.clock(record.submitted)
    whose = f"step {of[1]} of {of[0]}" if of else ""
    whose = f"evaluates step {evaluation_jobs.step_of(record)} of {record.beside}" if record.beside else whose
    return *head, step, loss, left, "; ".join(filter(None, (_why(record, now), whose)))


def _why(record: Record, now: Status) -> str:
    follows = now.state == contract.PENDING and record.after and now.reason
    said = [waiting.words(now)] if follows else [now.reason] if now.reason else []
    said += [now.error] if now.error and now.state != contract.COMPLETED and now.error != now.reason else []
    if now.stuck:
        said = [f"no further attempt is queued: python launch.py resume {record.job_id}"]
    return "; ".join(" ".join(text.split()) for text in said)


def _watch(folder: Path, as_json: bool) -> int:
    said: list[str] = []
    places, pause = Places(folder), Pause(1.0)
    with watching(as_json) as watcher:
        while True:
            rows = _look(folder, places)
            active = [row for row in rows if not (row[1].over or row[1].forgotten)]
            pause.least = min(60.0, sum(quickest_s(row[0]) for row in active) or 1.0)
            lines = [" ".join(filter(None, _cells(row))) for row in rows]
            if watcher.draw is None:
                _tell(rows, lines, said, as_json)
            if not active:
                break
            watcher.wait(pause.after(lines != said), functools.partial(_screen, rows))
            said = lines
            if watcher.left:
                break
    if watcher.draw is not None:
        console.out("\n".join(_table(rows, console.width())) if rows else "no job was submitted from here yet")
    return watcher.code if watcher.left else 0


def _tell(rows: Sequence[Row], lines: Sequence[str], said: Sequence[str], as_json: bool) -> None:
    before = set(said)
    for row, line in zip(rows, lines, strict=True):
        if line in before:
            continue
        if as_json:
            console.document(_document(row), indent=None)
        else:
            console.out(f"{time.strftime('%H:%M:%S')} {line}")
    console.flush()


def _screen(rows: Sequence[Row], at: Screen) -> list[str]:
    """Those that have not ended first to be kept, where there is no room for all; the latest below."""
    rows = [row for row in rows if not _is_evaluated(row)]
    room = max(1, at.rows - 3)
    order = sorted(range(len(rows)), key=lambda index: (rows[index][1].over, -index))[:room]
    kept = [rows[index] for index in sorted(order)]
    left_out = len(rows) - len(kept)
    foot = f"{time.strftime('%H:%M:%S')}  Ctrl-C leaves" + (f"; {left_out} more: launch.py jobs" if left_out else "")
    return [*_table(kept, at.columns), "", console.cut_end(foot, at.columns)][: at.rows]


COMMAND = Jobs()
