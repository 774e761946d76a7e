"""`compare SWEEP`: its points by a metric, best first, with what differs between them."""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from automodel_launch import executors
from automodel_launch.commands import console, one_pipeline, one_sweep
from automodel_launch.commands.command import Command, Option, Parser
from automodel_launch.commands.one_sweep import Row
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.remote.shell import AT_ONCE
from automodel_launch.report import goodput, joining, ranking, reading
from automodel_launch.report.ranking import Rank


class Read(NamedTuple):
    """What a point's run has logged, and the GPU-hours of it: all, and those in steps that were kept."""

    rows: list[dict[str, Any]]
    hours: float = 0.0
    kept: float = 0.0
    unit: str = ""


class Compare(Command):
    """The points of one sweep."""

    name = "compare"
    options = (
        Option(("--by",), "the metric (default: val_loss, else loss)", "METRIC"),
        Option(("--csv",), "comma-separated values"),
    )

    def register(self, parser: Parser) -> None:
        """SWEEP."""
        parser.add_argument(
            "job", metavar="SWEEP", help="a sweep's name, or its unique beginning; or a pipeline of one sweep"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print them.

        Raises:
            JobError: there is no such sweep, or it is a pipeline of none or of several.
            UsageError: no point has logged such a metric.
        """
        sweep = one_sweep.named(args) or one_pipeline.only_sweep(args)
        if sweep is None:
            raise JobError(f"no sweep '{args.job}'.", "RECIPE --sweep KEY=V1,V2 starts one, and prints its name")
        points = one_sweep.look(args, sweep)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(_read, points))
        runs = [each.rows for each in found]
        known, metric = ranking.names(runs), args.by or ranking.usual(runs)
        if args.by and known and args.by not in known:
            raise UsageError(f"--by {args.by}: no point of {sweep.name} has logged it.", f"one of: {', '.join(known)}")
        ranks = [ranking.rank(rows, metric) for rows in runs]
        order = ranking.order(ranks, metric)
        rows = [(points[place], ranks[place], found[place]) for place in order]
        if args.json:
            console.document({"sweep": sweep.name, "by": metric, "points": [_document(*row) for row in rows]})
        elif args.csv:
            console.exact(_csv(sweep, metric, rows))
        else:
            _show(sweep, metric, rows)
        return 0


def _read(row: Row) -> Read:
    if row.record is None:
        return Read([])
    files = reading.read(row.record, executors.get(row.record.executor).place_of(row.record))
    joined = joining.join(files)
    spent = goodput.of(files, joined, time.time())
    return Read(list(joining.rows(joined)), spent.hours(), spent.hours("steps"), spent.unit)


def _show(sweep: Sweep, metric: str, rows: list[tuple[Row, Rank, Read]]) -> None:
    cells = [["point", *one_sweep.short(sweep.keys), metric, "best", "at step", "step", "state"]]
    for point, rank, _ in rows:
        values = one_sweep.settings(point.point.settings, sweep.keys)
        numbers = [_number(rank.value), _number(rank.best), _number(rank.best_step), _number(rank.step)]
        cells.append([f".{point.number}", *values, *numbers, point.now.state])
    columns = console.width()
    lines = [console.cut_line(f"  {line}", columns) for line in console.table(cells)]
    logged = any(rank.value is not None for _, rank, _ in rows)
    head = f"{sweep.name} by {metric}, best first:" if logged else f"{sweep.name}: no point has logged {metric}"
    console.out("\n".join([head, *lines]))
    hours, kept = (sum(getattr(each, name) for _, _, each in rows) for name in ("hours", "kept"))
    unit = next((each.unit for _, _, each in rows if each.unit), "GPU")
    if hours and any(each.rows for _, _, each in rows):  # a script that logs no step has no goodput
        console.out(f"  goodput of all: {kept / hours:.0%} of {hours:.3g} {unit}-hours")


def _document(point: Row, rank: Rank, read: Read) -> dict[str, Any]:
    return {
        "point": point.number,
        "name": point.point.label,
        "run_name": point.point.run_name,
        "job_id": point.record.job_id if point.record else None,
        "settings": point.point.settings,
        "state": point.now.state,
        "value": rank.value if rank.value is None or math.isfinite(rank.value) else str(rank.value),
        "step": rank.step,
        "best": rank.best,
        "best_step": rank.best_step,
        "hours": read.hours,
        "hours_kept": read.kept,
        "hours_of": read.unit or None,
    }


def _csv(sweep: Sweep, metric: str, rows: list[tuple[Row, Rank, Read]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["point", "run_name", *sweep.keys, metric, "step", "best", "best_step", "state"])
    for point, rank, _ in rows:
        values = [point.point.settings.get(key, "") for key in sweep.keys]
        numbers = [rank.value, rank.step, rank.best, rank.best_step]
        writer.writerow([point.number, point.point.run_name, *values, *numbers, point.now.state])
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


COMMAND = Compare()
