"""`diff A B`: what differs between two jobs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Option, Parser
from automodel_launch.jobs import pipelines

if TYPE_CHECKING:
    from automodel_launch.reproduce.compare import Row, Section

DIFFERS = 1
_VALUE = 60  # characters of a value
_LINES = 60  # of a unified diff, without --full


class Diff(Command):
    """Compare them, subject by subject."""

    name = "diff"
    options = (Option(("--full",), "every line of what differs"),)

    def register(self, parser: Parser) -> None:
        """A and B."""
        parser.add_argument("a", metavar="A", help="a job's id, its unique beginning, a run's name (its last job)")
        parser.add_argument("b", metavar="B", help="the other one; or `last`")

    def run(self, args: argparse.Namespace) -> int:
        """0 where nothing differs, else 1.

        Raises:
            JobError: no such job, or its directory is gone.
            ClusterError: its place cannot be reached.
        """
        from automodel_launch.reproduce import compare, left

        folder = workspace.find(args.env).records
        found = [pipelines.job(folder, name) for name in (args.a, args.b)]
        a, b = (left.of(record) for record in found)
        told = list(compare.sections(a, b))
        if args.json:
            console.document({"a": a.job_id, "b": b.job_id, **document(told)})
        else:
            console.out(f"{a.job_id} (a) and {b.job_id} (b)")
            for section in told:
                show(section, args.full)
        return DIFFERS if any(section.same is False for section in told) else 0


def document(told: list[Section]) -> dict[str, Any]:
    """As JSON data; `same` is null where that cannot be told."""
    sections = {
        section.name: {
            "same": section.same,
            **({"why": section.why} if section.why else {}),
            "differences": [{"key": row.key, "a": row.a, "b": row.b} for row in section.rows],
            "text": section.text,
        }
        for section in told
    }
    return {"same": all(section.same is not False for section in told), "sections": sections}


def show(section: Section, full: bool) -> None:
    """One line for what is the same, the differences of the rest."""
    if section.same is not False:
        console.out(f"{section.name:<12} {'the same' if section.same else section.why}")
        return
    count = console.many(len(section.rows), "difference") if section.rows else "differs"
    console.out(f"{section.name:<12} {count}")
    most = None if full else _LINES
    for row in section.rows[:most]:
        console.out(f"  {_row(row)}")
    for line in section.text[:most]:
        console.out(f"  {line}")
    left = len(section.rows[most:]) + len(section.text[most:]) if most else 0
    if left:
        console.out(f"  {console.many(left, 'line')} more: --full, or --json")


def _row(row: Row) -> str:
    return f"{row.key}: {_value(row.a)} -> {_value(row.b)}"


def _value(value: Any) -> str:
    return "not set" if value is None else console.cut(json.dumps(value, ensure_ascii=False, default=str), _VALUE)


COMMAND = Diff()
