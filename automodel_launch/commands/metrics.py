"""`metrics [RUN]`: every step of a run, all attempts joined: the later record of a step counts."""

from __future__ import annotations

import argparse
import csv
import io
from typing import Any

from automodel_launch import executors
from automodel_launch.commands import console
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.report import joining, reading

_TABLE = ("step", "loss", "val_loss", "lr", "grad_norm", "tps", "mem_gib")
_SHOWN = 10  # characters of a number


class Metrics(JobCommand):
    """The numbers of one run."""

    name = "metrics"
    bare = True
    options = (Option(("--csv",), "comma-separated values, with every name that was logged"),)

    def run(self, args: argparse.Namespace) -> int:
        """Print them."""
        record = self.find(args)
        joined = joining.join(reading.read(record, executors.get(record.executor).place_of(record)))
        rows = joining.rows(joined)
        if args.json:
            console.document({"run": record.run_name, "rows": rows})
        elif not rows:
            console.say(f"{record.run_name} has logged no step yet")
        elif args.csv:
            console.exact(_csv(rows))
        else:
            names = [name for name in _TABLE if any(row.get(name) is not None for row in rows)]
            cells = [[_cell(row.get(name)) for name in names] for row in rows]
            console.out("\n".join(console.table([names, *cells])))
        return 0


def _csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"[:_SHOWN] if isinstance(value, float) else str(value)


COMMAND = Metrics()
