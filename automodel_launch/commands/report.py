"""`report RUN...`: one page that shows runs: their curves, attempts, cost, checkpoints and plans."""

from __future__ import annotations

import argparse
import os
import time
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automodel_launch import backends, executors, workspace
from automodel_launch.commands import console, one_job, run_group
from automodel_launch.commands.command import Option, Parser
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.commands.run_group import Group
from automodel_launch.errors import ClusterError, JobError, UsageError
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.launch.pace import Pace
from automodel_launch.report import page, page_data, reading
from automodel_launch.report.reading import JobFiles

_LOOKED_AT = 1024  # bytes in which a page names its generator
_LEAST_S = 10.0  # between two pages
_PATIENCE = 6  # looks for a sweep's next point, where all others have ended, and for a job that nobody knows
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
        text = "a job's id, its unique beginning, the name of a run, a sweep or a pipeline, or `last` (default: last)"
        parser.add_argument("runs", metavar="RUN", nargs="*", help=text)

    def run(self, args: argparse.Namespace) -> int:
        """Write it."""
        records = self._records(args)
        folder = workspace.find(args.env).records
        group = run_group.find(folder, args.runs[0]) if len(args.runs) == 1 else None
        name = f"report-{_name(records, group)}.html" if args.output is None else args.output
        path = Path(os.path.realpath(name))  # a link stays one: what it leads to is written
        _refuse(path)
        pages = Pages(path, records, group)
        again = pages.write(watch=args.watch)
        for gone in pages.gone():
            console.say(f"{gone}; the page has no more of it than the record here")
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
        found = [record for name in args.runs or [None] for record in self._named(args, name)]
        return list({(record.executor, record.profile, record.run_dir): record for record in found}.values())

    def _named(self, args: argparse.Namespace, name: str | None) -> list[Record]:
        """The job; of a sweep or a pipeline those of all points and steps that have one."""
        group = run_group.find(workspace.find(args.env).records, name)
        if group is None:
            return [self.find(argparse.Namespace(**vars(args), job=name))]
        jobs = [record for record in group.jobs() if record]
        if not jobs:
            raise JobError(f"no job of {name} was submitted.", f"python launch.py status {name}")
        return jobs


@dataclass
class Watched:
    """One run of a page: what was read last, and when whoever runs it is to be asked again."""

    record: Record
    asks: Pace = field(default_factory=lambda: Pace(_LEAST_S))
    status: Status | None = None
    view: page_data.View | None = None

    @property
    def is_due(self) -> bool:
        """Its state is to be asked for."""
        return self.status is None or (self.asks.due and not self.over)

    def look(self, known: Status | None) -> page_data.View:
        """The run as it is, `known` where its state was asked for with others'.

        The state comes first: what a run wrote at its end is read then, and nothing is read of one that had ended.
        """
        if self.view is not None and self.over:
            return self.view
        place = executors.get(self.record.executor).place_of(self.record)
        if self.status is None or self.is_due:
            self.status = known or one_job.status(self.record)
            self.asks.note(self.status)
        before = self.view.files if self.view else None
        files = reading.read(self.record, place, before)
        if before and bool(files.jobs[-1].end) != bool(before.jobs[-1].end):  # the job itself says so
            self.asks.hurry()
        commits = reading.commits(files, place)
        self.view = page_data.View(files, self.status.state, commits, phases=_phases(files.jobs[-1]))
        return self.view

    @property
    def over(self) -> bool:
        """Nothing changes any more."""
        return self.status is not None and self.status.over

    @property
    def is_lost(self) -> bool:
        """Nobody knows the job now; a network file system may show its record late."""
        return self.status is not None and self.status.forgotten


class Pages:
    """One page, written again and again. Of metrics only what is new is read."""

    def __init__(
        self,
        path: Path,
        records: list[Record],
        group: Group | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path, self._group, self._pause = path, group, pause
        self._quiet = 0
        self._runs = [Watched(record) for record in records]
        self._views: list[page_data.View] = []

    def write(self, watch: bool) -> float | None:
        """Write it as things are; in how many seconds it is to be written again, None where nothing changes any more.

        Raises:
            ClusterError: a place cannot be reached; the page is what it was.
            UsageError: the page cannot be written, or something else is there now.
        """
        began = time.monotonic()
        missing = self._grow()
        due = [run.record for run in self._runs if run.is_due]
        known = state.waiting(due) if len(due) > 1 else {}  # many that wait are one question
        labels = self._group.labels() if self._group else {}
        self._views = [run.look(known.get(run.record.job_id)) for run in self._runs]
        for view in self._views:
            view.label = labels.get(view.files.name, "")
        again = None
        lost = any(run.is_lost for run in self._runs)
        self._quiet = self._quiet + 1 if all(run.over or run.is_lost for run in self._runs) else 0
        if watch and (not self._quiet or ((missing or lost) and self._quiet <= _PATIENCE)):
            again = max(_LEAST_S, _SHARE * (time.monotonic() - began))
        self._put(again)
        return again

    def gone(self) -> list[str]:
        """What to say of jobs whose directories were removed."""
        bare = [view.files.record for view in self._views if not view.files.jobs[-1].plan]
        return list(filter(None, map(one_job.without_directory, bare)))

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
        states = [view.state for view in self._views]
        counted = console.listed(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        ended = f"{self._views[0].files.name}: {states[0]}" if len(states) == 1 else counted
        console.say(f"{ended}; {self._path.name} is complete")

    def _grow(self) -> int:
        """Points and steps that have got a job meanwhile, or another one, join; how many have none yet."""
        if self._group is None:
            return 0
        runs = {run.record.run_name: run for run in self._runs}
        jobs = self._group.jobs()
        for record in jobs:
            if record and (record.run_name not in runs or runs[record.run_name].record.job_id != record.job_id):
                runs[record.run_name] = Watched(record)
        self._runs = list(runs.values())
        return jobs.count(None)

    def _put(self, again: float | None) -> None:
        _refuse(self._path)
        _write(
            self._path,
            page.html(page_data.document(self._views, time.time(), again, self._group.name if self._group else None)),
        )


def _phases(job: JobFiles) -> Sequence[tuple[str, int, int]]:
    """Those of the data of its config, which only its backend understands."""
    backend, config = backends.known(job.order.get("backend")), job.plan.get("config")
    return backend.phases(config) if backend and isinstance(config, dict) else ()


def _name(records: list[Record], group: Group | None) -> str:
    """Of its file."""
    first, more = records[0].run_name, len(records) - 1
    return group.name if group else f"{first}-and-{more}-more" if more else first


def _refuse(path: Path) -> None:
    """Keep a file that is no report, and say early what cannot be written."""
    if path.is_dir():
        raise UsageError(f"-o {path} is a directory.", f"-o {path / 'report.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: there is no directory {path.parent}.", f"mkdir -p {path.parent}")
    if path.exists():
        if not path.is_file():  # a pipe would wait for whoever writes it
            raise UsageError(f"-o {path} is no regular file.", "-o FILE.html")
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
