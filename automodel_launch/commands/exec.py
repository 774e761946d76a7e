"""`exec JOB [--node N] -- CMD`: a command where a job runs, beside its training."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.commands import console, one_job
from automodel_launch.commands.command import Option
from automodel_launch.commands.one_job import JobCommand
from automodel_launch.errors import JobError, UsageError
from automodel_launch.executors.inside import Wanted
from automodel_launch.jobs.records import Record
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.remote import streaming

_LIMIT_S = 3600.0  # with --json, where its output is one document


class Execute(JobCommand):
    """A command in the job's directory, with its environment; its exit code is the command's."""

    name = "exec"
    options = (Option(("--node",), "number of the node, from 0, or its name (default: 0)", "N", "0"),)

    @property
    def usage(self) -> dict[str, str]:
        """With the command."""
        return {"[JOB]": "JOB -- CMD ..."}

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """What stands behind `--` is the command's."""
        at = argv.index("--") if "--" in argv else len(argv)
        args, rest = self.parser().parse_known_args(argv[:at])
        args.words = tuple(argv[at + 1 :])
        if not args.words:
            words = [args.job or "JOB", "--", *(rest or ["nvidia-smi"])]
            raise UsageError("exec: which command? It goes behind `--`.", f"python launch.py exec {shlex.join(words)}")
        if rest:
            self.parser().error(f"unrecognized arguments: {' '.join(rest)}")
        return args

    def run(self, args: argparse.Namespace) -> int:
        """Run it."""
        record = self.find(args)
        now = one_job.status(record)
        one_job.reachable(record, now)
        if now.state != contract.RUNNING:
            raise JobError(f"{record.job_id} is not running: {now.state}.", f"python launch.py status {record.job_id}")
        terminal = not args.json and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        wanted = Wanted(_node(record, args.node), args.words, terminal)
        inside = executors.get(record.executor).inside(record, wanted)
        if inside.note:
            console.say(inside.note)
        if not wanted.node.get("ranks"):
            console.say("no rank of this node runs yet: without what its startup commands set")
        if args.json:
            done = inside.shell.run(inside.script, timeout=_LIMIT_S)
            told = {"job_id": record.job_id, "node": wanted.node.get("host"), "exit_code": done.code}
            console.document({**told, "stdout": done.out, "stderr": done.err})
            return done.code
        console.flush()
        interrupts = Interrupts()
        with interrupts.caught():  # Ctrl-C is the command's, which has this terminal; without one it ends it
            return streaming.run(inside.shell, inside.script, lambda: bool(interrupts.received) and not terminal)


def _node(record: Record, wanted: str) -> dict[str, Any]:
    """The record of the node of that number or name.

    Raises:
        JobError: it is none of the job's, or has not reported yet.
    """
    found = [node for node in one_job.directory(record).nodes() if node.get("host")]
    for node in found:
        host = str(node.get("host"))
        if wanted in (str(node.get("node")), host, host.partition(".")[0]):
            return node
    if not found:
        raise JobError(
            f"{record.job_id}: none of its agents has reported yet.", f"python launch.py status {record.job_id}"
        )
    named = console.listed([f"{node.get('node')} ({node.get('host')})" for node in found])
    raise JobError(f"{record.job_id} has no node {wanted}.", f"its nodes: {named}")


COMMAND = Execute()
