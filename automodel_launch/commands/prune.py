"""`prune [RUN...]`: what of old jobs and runs can go; `--yes` removes it."""

from __future__ import annotations

import argparse
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract, workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Option, Parser
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs import pipelines, records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.remote.shell import AT_ONCE

if TYPE_CHECKING:
    from automodel_launch.reproduce.prune import Found, Item, Wish

_AGES = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
LEFT = 1  # exit code where something could not be removed


class Prune(Command):
    """Show it, with what would be freed; or remove it."""

    name = "prune"
    options = (
        Option(("--older-than",), "jobs that ended at least so long ago: 12h, 30d, 8w (default: 30d)", "AGE", "30d"),
        Option(("--state",), "jobs that ended in one of these: FAILED,CANCELLED,... (default: any)", "STATES"),
        Option(("--larger-than",), "only what frees at least so much: 500MB, 20GB", "SIZE", "0"),
        Option(("--keep",), "newest complete checkpoints that stay of each run (default: 2)", "N", "2"),
        Option(("--yes",), "remove it; without, nothing is changed"),
    )

    def register(self, parser: Parser) -> None:
        """RUN..."""
        parser.add_argument(
            "runs", metavar="RUN", nargs="*", help="runs, jobs of them, sweeps or pipelines (default: all)"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Look, then remove with --yes.

        Raises:
            UsageError: an option is not understood.
            JobError: there is no such run.
        """
        from automodel_launch.launch import evaluation_jobs, state
        from automodel_launch.reproduce import prune

        wish, folder = _wish(args), workspace.find(args.env).records
        evaluation_jobs.adopt(folder, records.all_records(folder))
        known = records.all_records(folder)
        only = _chosen(folder, known, args.runs)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs: list[tuple[Record, Status]] = list(pool.map(lambda record: state.look(folder, record), known))
        found = prune.look(jobs, wish, only)
        left = [item for item in found.items if not prune.remove(item)] if args.yes else []
        if args.json:
            console.document(_document(found, left, args.yes))
        else:
            _show(found, left, args.yes)
        return LEFT if left else 0


def _wish(args: argparse.Namespace) -> Wish:
    from automodel_launch.reproduce.prune import Wish

    age = re.fullmatch(r"([0-9]{1,18})([mhdw])", args.older_than)
    size = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)i?b?", args.larger_than.lower())
    if not age:
        raise UsageError(f"--older-than {args.older_than} is not understood.", "--older-than 30d (or 12h, 8w)")
    if not size:
        raise UsageError(f"--larger-than {args.larger_than} is not understood.", "--larger-than 20GB")
    if not re.fullmatch(r"[0-9]{1,18}", args.keep) or int(args.keep) < 1:
        raise UsageError(f"--keep {args.keep}: one complete checkpoint stays at least.", "--keep 1")
    states = frozenset(word.strip().upper() for word in (args.state or "").split(",") if word.strip())
    known = {*contract.ENDED, records.NOT_SUBMITTED}
    if states - known or (args.state is not None and not states):
        raise UsageError(f"--state {args.state}: no such end of a job.", f"ends: {', '.join(sorted(known))}")
    return Wish(int(age[1]) * _AGES[age[2]], states, int(float(size[1]) * _SIZES[size[2]]), int(args.keep))


def _chosen(folder: Path, known: list[Record], words: list[str]) -> set[str] | None:
    """Names of the runs that are meant: of runs, jobs, sweeps and pipelines with all of theirs, and points; None: all.

    Raises:
        JobError: a word names none of them. Nothing is guessed from a beginning, since something is removed.
    """
    found = set[str]()
    for word in words:
        sweep, pipeline = sweeps.exact(folder, word), pipelines.find(folder, word)
        runs = {one.run_name for one in known if word in (one.run_name, one.job_id)}
        runs |= {point.run_name for point in sweep.points} if sweep else set()
        runs |= {run for step in pipeline.steps for run in pipelines.runs_of(folder, step)} if pipeline else set()
        point = None if runs else sweeps.point(folder, word)
        if not runs and point is None:
            raise JobError(f"no run, job, sweep or pipeline '{word}' was submitted from here.", "python launch.py jobs")
        found |= runs | ({point.run_name} if point else set())
    return found if words else None


def _document(found: Found, left: list[Item], acted: bool) -> dict[str, Any]:
    rows = [
        {
            "kind": item.kind,
            "run": item.run,
            "job_id": item.record.job_id if item.kind == "job" else None,
            "state": item.state or None,
            "age_s": round(item.age_s),
            "bytes": item.bytes,
            "paths": [f"{item.base}/{path}" for path in item.below],
            "removed": acted and item not in left,
        }
        for item in found.items
    ]
    kept = [{"what": what, "why": why} for what, why in found.kept]
    return {"removed": acted, "bytes": sum(item.bytes for item in found.items), "items": rows, "kept": kept}


def _show(found: Found, left: list[Item], acted: bool) -> None:
    rows = [
        (item.kind, item.name, item.state, console.duration(item.age_s), console.size(item.bytes))
        for item in found.items
    ]
    if rows:
        console.out("\n".join(console.table(rows)))
    for what, why in found.kept:
        console.say(f"kept: {what}: {why}")
    for item in left:
        console.say(f"not removed: {item.name}: something of it is still there, or a job of its run has begun")
    total = console.size(sum(item.bytes for item in found.items if item not in left))
    many = console.many(len(rows) - len(left), "item")
    if acted:
        console.say(f"removed {many}: {total}")
    else:
        console.say(f"{many}, {total}: nothing was removed; --yes does it" if rows else "nothing to prune")


COMMAND = Prune()
