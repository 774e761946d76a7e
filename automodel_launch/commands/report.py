"""`report RUN...`: one page that shows runs: their curves, attempts, cost, checkpoints and plans."""

from __future__ import annotations

import argparse
import os
import time
import webbrowser
from pathlib import Path

from automodel_launch import executors, workspace
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option, Parser
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs import sweeps
from automodel_launch.jobs.records import Record
from automodel_launch.report import page, page_data, reading

_LOOKED_AT = 1024  # bytes in which a page names its generator


class Report(JobCommand):
    """A page of one run or of several."""

    name = "report"
    bare = True
    options = (
        Option(("-o", "--output"), "where to write it (default: report-RUN.html here)", "FILE.html"),
        Option(("--open",), "show it in a browser"),
    )

    def register(self, parser: Parser) -> None:
        """RUN..."""
        text = "a job's id, its unique beginning, a run's name, or `last` (default: last)"
        parser.add_argument("runs", metavar="RUN", nargs="*", help=text)

    def run(self, args: argparse.Namespace) -> int:
        """Write it."""
        records = self._records(args)
        first = records[0].run_name
        name = f"report-{first}.html" if len(records) == 1 else f"report-{first}-and-{len(records) - 1}-more.html"
        path = Path(args.output or name).absolute()
        _refuse(path)
        _write(path, page.html(page_data.document([_view(record) for record in records], time.time())))
        if args.json:
            console.document({"file": str(path), "runs": [record.run_name for record in records]})
        else:
            console.out(str(path))
        if args.open and not webbrowser.open(path.as_uri()):
            console.say(f"no browser could be started here; open {path} where there is one")
        return 0

    def _records(self, args: argparse.Namespace) -> list[Record]:
        """The last job of each run, each run once."""
        found = [record for name in args.runs or [None] for record in self._named(args, name)]
        return list({(record.executor, record.profile, record.run_dir): record for record in found}.values())

    def _named(self, args: argparse.Namespace, name: str | None) -> list[Record]:
        """The job; of a sweep those of all points that have one."""
        folder = workspace.find(args.env).records
        sweep = sweeps.exact(folder, name)
        if sweep is None:
            return [self.find(argparse.Namespace(**vars(args), job=name))]
        jobs = [record for record in sweeps.jobs_of(folder, sweep) if record]
        if not jobs:
            raise JobError(f"no job of sweep {name} was submitted.", f"python launch.py status {name}")
        return jobs


def _view(record: Record) -> page_data.View:
    place = executors.get(record.executor).place_of(record)
    files = reading.read(record, place)
    return page_data.View(files, one_job.status(record).state, reading.commits(files, place))


def _refuse(path: Path) -> None:
    """Keep a file that is no report, and say early what cannot be written."""
    if path.is_dir():
        raise UsageError(f"-o {path} is a directory.", f"-o {path / 'report.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no directory {path.parent}.", f"mkdir -p {path.parent}")
    if path.exists():
        try:
            with path.open("rb") as file:
                head = file.read(_LOOKED_AT)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.", "-o ANOTHER.html") from error
        if page.GENERATOR.encode() not in head:
            raise UsageError(f"{path} is there, and is no report: it is not overwritten.", "-o ANOTHER.html")


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a browser may read while it is written.

    Raises:
        UsageError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "-o FILE.html, elsewhere") from error


COMMAND = Report()
