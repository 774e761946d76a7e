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

from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import follow

_MARK = re.compile(r"\[(\d+)\] ")


class Logs(JobCommand):
    """One job's logs."""

    name = "logs"
    bare = True
    options = (
        Option(("--rank",), "global rank (default: 0), or all of them", "N|all", "0"),
        Option(("--follow",), "go on until the job ends; with --json a JSON object a line"),
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print what is there, or follow; then the exit code is the job's own."""
        record = self.find(args)
        job = one_job.directory(record)
        ranks = _ranks(args.rank, job, record)
        if args.follow and not one_job.status(record).over:
            return _follow(record, ranks, args.json)
        present = job.ranks()
        wanted = [rank for rank in (present if ranks is None else ranks) if rank in present]
        if args.json:
            _document(job, record, wanted, args.follow)
            return 0
        for rank, line in _lines(job, wanted):
            console.out(f"[{rank}] {line}" if ranks is None and rank is not None else line, colour=True)
        return 0


def _lines(job: JobDir, ranks: list[int]) -> Iterator[tuple[int | None, str]]:
    """(rank, line), one rank after the other; --follow mixes them, in the order of time.

    Without any: what the agent said, of a job that ended before the first rank began, or has not come to it yet.
    """
    for rank in ranks:
        for _, line in follow.new_lines({rank: follow.Tail(job.log(rank))}, job.place, last=True):
            yield rank, line
    if not ranks:
        yield from ((None, line) for line in (job.agent_log() or "").splitlines())


def _document(job: JobDir, record: Record, ranks: list[int], by_line: bool) -> None:
    lines = [{"rank": rank, "line": line} for rank, line in _lines(job, ranks)]
    if by_line:
        for line in lines:
            console.document({"job_id": record.job_id, **line}, indent=None)
        _end(record)
    else:
        console.document({"job_id": record.job_id, "ranks": ranks, "lines": lines})


def _follow(record: Record, ranks: list[int] | None, as_json: bool) -> int:
    rank = ranks[0] if ranks else None
    out: IO[str] = Objects(record.job_id, rank, sys.stdout) if as_json else sys.stdout
    shown = str if as_json else follow.shown  # JSON holds what the job has written, as it is
    code = follow.Follower(record, ranks=ranks, out=out, shown=shown, only_looks=True).run()[1]
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
        """One line."""
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
