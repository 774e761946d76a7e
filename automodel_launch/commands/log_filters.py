"""`logs --errors`, `--grep RE` and `--since TIME`: which lines of which ranks are shown."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from automodel_launch.commands import console
from automodel_launch.errors import UsageError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import searching
from automodel_launch.launch.searching import Since

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def pattern(text: str | None) -> re.Pattern[str] | None:
    """The regular expression of --grep.

    Raises:
        UsageError: it is none.
    """
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        message = f"--grep {text}: not a regular expression of Python's: {error}."
        raise UsageError(message, f"--grep {shlex.quote(re.escape(text or ''))}") from None


def seconds(text: str | None) -> float | None:
    """The span of --since, in seconds.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--since {text}: a number with s, m, h or d is expected.", "--since 10m")
    return float(found.group(1)) * _UNITS[found.group(2)]


def since(job: JobDir, span: float | None) -> Since | None:
    """The filter of a span until now."""
    return None if span is None else Since(time.time() - span, searching.offset(job))


@dataclass
class Filter:
    """Whether a rank's line is shown; `troubles` of a job that is followed, where errors are not joined."""

    pattern: re.Pattern[str] | None
    since: Since | None
    errors: bool
    _troubles: Callable[[int, str], bool] = field(default_factory=searching.troubles)

    def __call__(self, rank: int, line: str) -> bool:
        """See above."""
        is_trouble = not self.errors or self._troubles(rank, line)
        return self.matches(rank, line) and is_trouble

    def matches(self, rank: int, line: str) -> bool:
        """By its time and the pattern alone."""
        recent = self.since is None or self.since(rank, line)
        return recent and (self.pattern is None or self.pattern.search(line) is not None)


def show(args: argparse.Namespace, record: Record, job: JobDir, ranks: list[int], keep: Filter, marked: bool) -> None:
    """Print what is found until now."""
    found = searching.lines(job, ranks)
    if args.errors and not (args.json and args.follow):
        count = _errors(args, record, searching.errors(found, keep.matches))
    elif args.json and not args.follow:
        kept = ({"rank": rank, "line": line} for rank, line in found if keep(rank, line))
        count = console.long_document({"job_id": record.job_id, "ranks": ranks}, "lines", kept)
    else:
        count = 0
        for rank, line in found:
            if keep(rank, line):
                _line(args, record, rank, line, marked)
                count += 1
    if keep.since is not None and keep.since.untold:
        console.say("no line of these logs has a time in it, so --since shows none")
    elif not count and not args.json:
        console.say(_nothing(args, record))


def _nothing(args: argparse.Namespace, record: Record) -> str:
    """What was looked for without a find: what a filter has left out may be there all the same."""
    where = f"rank {args.rank} of {record.job_id}" if args.rank not in (None, "all") else f"the logs of {record.job_id}"
    options = [] if args.grep is None else [f"--grep {shlex.quote(args.grep)}"]
    options += [] if args.since is None else [f"--since {args.since}"]
    if args.errors:
        within = f", among the lines that match {' and '.join(options)}" if options else ""
        return f"nothing in {where} looks like an error{within}"
    return f"no line in {where} matches {' and '.join(options)}"


def _line(args: argparse.Namespace, record: Record, rank: int, line: str, marked: bool) -> None:
    if args.json:
        console.document({"job_id": record.job_id, "rank": rank, "line": line}, indent=None)
    else:
        console.out(f"[{rank}] {line}" if marked else line, colour=True)


def _errors(args: argparse.Namespace, record: Record, found: list[searching.Error]) -> int:
    if args.json:
        console.document({"job_id": record.job_id, "errors": [error.document() for error in found]})
        return len(found)
    for error in found:
        console.out(_heading(error.rank, len(error.ranks) - 1))
        for line in error.lines:
            console.out(f"  {line}", colour=True)
    return len(found)


def _heading(rank: int, more: int) -> str:
    return f"rank {rank} and {console.many(more, 'further rank')}:" if more else f"rank {rank}:"
