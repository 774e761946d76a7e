"""`stacks JOB`: where every rank of a job is now."""

from __future__ import annotations

import argparse
import re

from automodel_launch import contract
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.commands.watch import Impatient
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs.records import Record
from automodel_launch.launch import requests

_OWN = re.compile(r"^=== .*|^rank \d+ on .*|0x[0-9a-f]+|\bpid \d+|\bProcess \d+|\bThread \d+", re.I)
_COPY = re.compile(r"/[^\s\"':]*/launch-code-\w+(?=/code/)")  # a node's own copy, recipes/node_agent_lib/code_copy.py
_VENV = re.compile(rf"/[^\s\"':]*/{contract.VENV_COPY}\w+/venv(?=/)")  # and what venv_archive was unpacked to
_FEW = 8  # ranks that are named


class Stacks(JobCommand):
    """The stacks of all ranks; those that stand at the same lines once."""

    name = "stacks"
    options = (Option(("--rank",), "global rank (default: all)", "N|all", "all"),)

    def run(self, args: argparse.Namespace) -> int:
        """Ask the agents for them, and print them."""
        if args.rank != "all" and not (args.rank.isascii() and args.rank.isdigit()):
            raise UsageError(f"--rank {args.rank}: expected a global rank (0, 1, ...) or `all`.")
        record = self.find(args)
        interrupts = Impatient()
        with interrupts.caught():
            now = one_job.status(record)
            one_job.reachable(record, now)
            _has(record, args.rank)
            found = requests.stacks(record, now, console.say, lambda: bool(interrupts.received))
        if interrupts.received:
            return interrupts.code
        found = [
            (rank, [named_as_known(line, record.job_dir) for line in lines])
            for rank, lines in found
            if args.rank in ("all", str(rank))
        ]
        groups = _groups(found)
        if args.json:
            rows = [{"ranks": ranks, "lines": lines} for ranks, lines in groups]
            console.document({"job_id": record.job_id, "stacks": rows})
            return 0
        for ranks, lines in groups:
            named = console.listed(map(str, ranks), _FEW)
            console.out("\n".join([f"rank{'s' if len(ranks) > 1 else ''} {named}:", *(f"  {line}" for line in lines)]))
        if not found:
            console.say(f"{record.job_id} has written no stacks; its logs/ may be full, or the ranks have ended")
        return 0


def named_as_known(line: str, job_dir: str) -> str:
    """A file of the job's code, or of a Python that came as an archive, by the name that people know: each node has a
    copy of its own, of another name."""
    return _VENV.sub(lambda _: f"${contract.VENV_VAR}", _COPY.sub(lambda _: job_dir, line))


def _has(record: Record, rank: str) -> None:
    """Ask nobody for a rank that the job does not have.

    Raises:
        JobError: it has none of that number.
    """
    present = one_job.directory(record).ranks() if rank != "all" else []
    if present and int(rank) not in present:
        raise JobError(f"{record.job_id} has no rank {rank}; ranks: 0 to {present[-1]}.")


def _groups(found: list[tuple[int, list[str]]]) -> list[tuple[list[int], list[str]]]:
    """Ranks whose stacks are the same but for addresses and numbers of processes, with those of the first one."""
    groups: dict[str, tuple[list[int], list[str]]] = {}
    for rank, lines in found:
        key = "\n".join(_OWN.sub("#", line) for line in lines)
        groups.setdefault(key, ([], lines))[0].append(rank)
    return list(groups.values())


COMMAND = Stacks()
