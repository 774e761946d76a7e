"""`metrics [RUN]`: every step of a run, all attempts joined: the later record of a step counts."""

from __future__ import annotations

import argparse
import csv
import io
import json
from typing import Any

from automodel_launch import executors
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.report import joining, reading
from automodel_launch.report.joining import Joined

_TABLE = ("step", "loss", "val_loss", "lr", "grad_norm", "tps", "mem_gib")
_LOSS = "loss"
_SHOWN = 10  # characters of a number
_AT_ONCE = 2**20  # characters that are written together


class Metrics(JobCommand):
    """The numbers of one run."""

    name = "metrics"
    bare = True
    options = (Option(("--csv",), "comma-separated values, with every name that was logged"),)

    def run(self, args: argparse.Namespace) -> int:
        """Print them."""
        record = self.find(args)
        joined = joining.join(reading.read(record, executors.get(record.executor).place_of(record)))
        if args.json:
            _document(record.run_name, joined)
        elif next(joining.rows(joined), None) is None:
            console.say(one_job.without_directory(record) or f"{record.run_name} has logged no step yet")
        elif args.csv:
            _csv(joined)
        else:
            _table(joined)
        return 0


def _document(run: str, joined: Joined) -> None:
    """One JSON document, written row by row: a million of them are a gigabyte at once."""
    console.write(f'{{"run": {json.dumps(run)}, "rows": [')
    for number, row in enumerate(joining.rows(joined)):
        console.write(f"{',' if number else ''}\n {json.dumps(row)}")
    console.write("]}\n")


def _csv(joined: Joined) -> None:
    names = joining.names(joined)
    written = io.StringIO()
    writer = csv.DictWriter(written, names, lineterminator="\n")
    writer.writeheader()
    for row in joining.rows(joined):
        writer.writerow(row)
        if written.tell() > _AT_ONCE:
            console.exact(written.getvalue())
            written.seek(0)
            written.truncate()
    if written.tell():
        console.exact(written.getvalue())


def _table(joined: Joined) -> None:
    widths: dict[str, int] = {}
    for row in joining.rows(joined):
        for name in _TABLE:
            if row.get(name) is not None or (name in row and name == _LOSS):
                widths[name] = max(widths.get(name, len(name)), len(_shown(row, name)))
    shown = [name for name in _TABLE if name in widths]
    console.out(_line(shown, [widths[name] for name in shown]))
    for row in joining.rows(joined):
        console.out(_line([_shown(row, name) for name in shown], [widths[name] for name in shown]))


def _line(cells: list[str], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _shown(row: dict[str, Any], name: str) -> str:
    return "nan" if name == _LOSS and name in row and row[name] is None else _cell(row.get(name))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"[:_SHOWN] if isinstance(value, float) else str(value)


COMMAND = Metrics()
