"""`report RUN...`: one page that shows runs: their curves, attempts, cost, checkpoints and plans."""

from __future__ import annotations

import argparse
import os
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from automodel_launch import executors
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option, Parser
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import ClusterError, UsageError
from automodel_launch.jobs.records import Record
from automodel_launch.report import page, page_data, reading

_LOOKED_AT = 1024  # bytes in which a page names its generator
_LEAST_S = 10.0  # between two pages
_SHARE = 20.0  # the pause is that many times as long as a page takes: 5 % of one core, however long the run


class Report(JobCommand):
    """A page of one run or of several."""

    name = "report"
    bare = True
    options = (
        Option(("-o", "--output"), "where to write it (default: report-RUN.html here)", "FILE.html"),
        Option(("--open",), "show it in a browser"),
        Option(("--watch",), "write it again while a run goes on, until all have ended"),
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
        pages = Pages(path, records)
        again = pages.write(watch=args.watch)
        if args.json:
            console.document({"file": str(path), "runs": [record.run_name for record in records]})
        else:
            console.out(str(path))
        console.flush()  # whoever waits for the path may open it now
        if args.open and not webbrowser.open(path.as_uri()):
            console.say(f"no browser could be started here; open {path} where there is one")
        if args.watch:
            pages.watch(again)
        return 0

    def _records(self, args: argparse.Namespace) -> list[Record]:
        """The last job of each run, each run once."""
        found = [self.find(argparse.Namespace(**vars(args), job=name)) for name in args.runs or [None]]
        return list({(record.executor, record.profile, record.run_dir): record for record in found}.values())


class Pages:
    """One page, written again and again. Of metrics only what is new is read."""

    def __init__(self, path: Path, records: list[Record], pause: Callable[[float], None] = time.sleep) -> None:
        self._path, self._records, self._pause = path, records, pause
        self._views: list[page_data.View] = []

    def write(self, watch: bool) -> float | None:
        """Write it as things are; in how many seconds it is to be written again, None where nothing changes any more.

        Raises:
            ClusterError: a place cannot be reached; the page is what it was.
            UsageError: the page cannot be written, or something else is there now.
        """
        began = time.monotonic()
        before: list[reading.RunFiles | None] = [view.files for view in self._views]
        before = before or [None] * len(self._records)
        looked = [_view(record, files) for record, files in zip(self._records, before, strict=True)]
        self._views = [view for view, _ in looked]
        again = None
        if watch and not all(over for _, over in looked):
            again = max(_LEAST_S, _SHARE * (time.monotonic() - began))
        self._put(again)
        return again

    def watch(self, again: float | None) -> None:
        """Write it until all runs have ended. A place that cannot be reached for a while leaves the page as it is."""
        lost = False
        try:
            while again is not None:
                self._pause(again)
                try:
                    again = self.write(watch=True)
                    lost = False
                except ClusterError as error:
                    if not lost:
                        console.say(f"warning: {error.message} The page stays as it is, and it is tried again.")
                    lost = True
        except KeyboardInterrupt:
            self._put(None)  # a browser that shows it waits for no other one
            raise
        states = ", ".join(f"{view.files.name}: {view.state}" for view in self._views)
        console.say(f"{states}; {self._path.name} is complete")

    def _put(self, again: float | None) -> None:
        _refuse(self._path)
        _write(self._path, page.html(page_data.document(self._views, time.time(), again)))


def _view(record: Record, before: reading.RunFiles | None) -> tuple[page_data.View, bool]:
    """A run as it is, and whether it has ended. Its state is asked first: what it wrote at its end is read then."""
    place = executors.get(record.executor).place_of(record)
    status = one_job.status(record)
    files = reading.read(record, place, before)
    return page_data.View(files, status.state, reading.commits(files, place)), status.over


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
