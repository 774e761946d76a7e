"""`logs [JOB]`: what a rank, or all of them, has logged; with --follow until the job's end."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO

from automodel_launch.commands import console, log_filters, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import follow, searching, tails

_MARK = re.compile(r"\[(\d+)\] ")


class Logs(JobCommand):
    """One job's logs."""

    name = "logs"
    bare = True
    options = (
        Option(("--rank",), "global rank (default: 0; all, with --errors or --grep), or all of them", "N|all"),
        Option(("--follow",), "go on until the job ends; with --json a JSON object a line"),
        Option(("--errors",), "what looks like an error, in the logs of all ranks; the same of several ranks once"),
        Option(("--grep",), "lines that match a regular expression", "RE"),
        Option(("--since",), "lines of the last 30s, 10m, 2h or 1d, by the times in them", "TIME"),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print what is there, or follow; then the exit code is the job's own."""
        pattern, seconds = log_filters.pattern(args.grep), log_filters.seconds(args.since)  # refused before a look
        record = self.find(args)
        job = one_job.directory(record)
        chosen = args.errors or pattern is not None
        ranks = _ranks(args.rank or ("all" if chosen else "0"), job, record)
        keep = log_filters.Filter(pattern, log_filters.since(job, seconds), args.errors)
        if args.follow and not one_job.status(record).over:
            return _follow(record, ranks, args.json, keep)
        present = job.ranks()
        wanted = [rank for rank in (present if ranks is None else ranks) if rank in present]
        if wanted and (chosen or seconds is not None):
            log_filters.show(args, record, job, wanted, keep, marked=ranks is None)
            if args.follow and args.json:  # it has ended: as where one has followed it
                _end(record)
            return 0
        if args.json:
            _document(job, record, wanted, args.follow)
            return 0
        for rank, line in _lines(job, record, wanted):
            console.out(f"[{rank}] {line}" if ranks is None and rank is not None else line, colour=True)
        return 0


def _lines(job: JobDir, record: Record, ranks: list[int]) -> Iterator[tuple[int | None, str]]:
    """(rank, line), one rank after the other; --follow mixes them, in the order of time."""
    yield from searching.lines(job, ranks) if ranks else ((None, line) for line in _of_start(job, record))


def _of_start(job: JobDir, record: Record) -> list[str]:
    """What there is without a rank's log, of a job that ended before the first rank began or has not come to it yet."""
    for name in job.start_logs():
        lines = list(_text(job, job.file(name)))
        if any(lines):
            console.say(f"no rank has logged; this is {job.file(name)}")
            return lines
    now = one_job.status(record)
    why = f": {now.reason or now.error}" if now.reason or now.error else ""
    gone = one_job.without_directory(record) if now.over else None
    console.say(gone or f"{record.job_id} has {'left no log' if now.over else 'no log yet'} ({now.state}{why})")
    return []


def _text(job: JobDir, path: str) -> Iterator[str]:
    return tails.Tail(path, place=job.place).lines(last=True)


def _document(job: JobDir, record: Record, ranks: list[int], by_line: bool) -> None:
    lines = ({"rank": rank, "line": line} for rank, line in _lines(job, record, ranks))
    if by_line:
        for line in lines:
            console.document({"job_id": record.job_id, **line}, indent=None)
        _end(record)
    else:
        console.long_document({"job_id": record.job_id, "ranks": ranks}, "lines", lines)


def _follow(record: Record, ranks: list[int] | None, as_json: bool, keep: log_filters.Filter) -> int:
    rank = ranks[0] if ranks else None
    out: IO[str] = Objects(record.job_id, rank, sys.stdout) if as_json else sys.stdout
    shown = str if as_json else tails.shown  # JSON holds what the job has written, as it is
    status, code = follow.Follower(record, ranks=ranks, out=out, shown=shown, only_looks=True, keep=keep).run()
    job = one_job.directory(record)
    if status.over and not job.ranks():
        for line in _of_start(job, record):
            out.write(f"{shown(line)}\n")
    if as_json:
        _end(record)
    return code


def _end(record: Record) -> None:
    console.document({"job_id": record.job_id, **asdict(one_job.status(record))}, indent=None)


class Objects(io.StringIO):
    """What a Follower writes, as a JSON object a line. `rank` is None where it marks each line with the line's rank."""

    def __init__(self, job_id: str, rank: int | None, out: IO[str]) -> None:
        super().__init__()
        self.job_id, self.rank, self.out = job_id, rank, out

    def write(self, text: str) -> int:
        """One line; nothing for the nothing with which a Follower flushes."""
        if not text:
            return 0
        rank, line = self.rank, text.removesuffix("\n")
        mark = _MARK.match(line) if rank is None else None
        if mark:
            rank, line = int(mark.group(1)), line[mark.end() :]
        self.out.write(json.dumps({"job_id": self.job_id, "rank": rank, "line": line}) + "\n")
        return len(text)

    def flush(self) -> None:
        """Hand it on."""
        self.out.flush()

    def fileno(self) -> int:
        """Where it goes."""
        return self.out.fileno()


def _ranks(wanted: str, job: JobDir, record: Record) -> list[int] | None:
    if wanted == "all":
        return None
    if not (wanted.isascii() and wanted.isdigit()):
        raise UsageError(f"--rank {wanted}: expected a global rank (0, 1, ...) or `all`.")
    present = job.ranks()
    if present and int(wanted) not in present:
        raise JobError(f"{record.job_id} has no rank {wanted}; ranks: 0 to {present[-1]}.")
    return [int(wanted)]


COMMAND = Logs()
