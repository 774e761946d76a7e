"""`reproduce JOB`: the same plan once more, from the job's own directory, as a run of another name."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import workspace
from automodel_launch.commands import launch
from automodel_launch.commands.command import Command, Parser
from automodel_launch.commands.one_plan import Planned
from automodel_launch.jobs import pipelines

if TYPE_CHECKING:
    from automodel_launch.reproduce.left import Left

_NOT_HERE = {"--config", "--fresh", "--from", "--after", *launch.OF_SWEEPS}  # what is not planned from the job itself
_HELP = {
    "--run": "attached; on its own profile as it was, or on another one of env.toml",
    "--batch": "detached, in the same way",
    "--name": "the new run's name (default: RUN-again)",
}


class Reproduce(Command):
    """Plan it from what the job has left, compare what it depends on, then go on as any launch."""

    name = "reproduce"
    options = tuple(
        replace(option, help=_HELP[option.names[0]]) if option.names[0] in _HELP else option
        for option in launch.OPTIONS
        if _NOT_HERE.isdisjoint(option.names)
    )

    def register(self, parser: Parser) -> None:
        """JOB."""
        parser.add_argument("job", metavar="JOB", help="a job's id, its unique beginning, a run's name, or `last`")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """`--rehearse JOB`: argparse would take JOB for the option's value."""
        return super().parse(["--rehearse=on" if word == "--rehearse" else word for word in argv])

    def run(self, args: argparse.Namespace) -> int:
        """To the preview, or to the new job's end.

        Raises:
            PlanRefused: the code, the data or the packages are not what they were.
            JobError: no such job, or its directory is gone.
        """
        from automodel_launch.reproduce import left

        launch.refuse_both(args)
        here = workspace.find(args.env)
        found = left.of(pipelines.job(here.records, args.job))
        with tempfile.TemporaryDirectory(prefix="launch-reproduce-") as scratch:
            parts = _planned(args, found, Path(scratch))
            launch.refuse_sweep(args, parts)
            return launch.carry_out(args, parts)


def _planned(args: argparse.Namespace, found: Left, scratch: Path) -> Planned:
    from automodel_launch.launch import checking
    from automodel_launch.profile import profiles
    from automodel_launch.reproduce import again, same

    here = workspace.find(args.env)
    wanted = args.run or args.batch
    other = wanted is not None and wanted != found.plan.get("profile")
    env_file = profiles.load(here.env_file, wanted if other else None)
    how: dict[str, Any] = {"mode": "batch" if args.batch else "run", "name": args.name, "offline": args.offline}
    wish = again.Again(found, again.at_hand(found, scratch), profile=wanted if other else None, **how)
    plan = again.plan(here, env_file, wish)
    findings = [
        *checking.run(plan, offline=args.offline),
        *same.findings(found, plan, here, args.offline),
    ]
    args.fresh, args.overrides = False, []
    return Planned(here, plan, checking.in_order(findings), env_file.theme)


COMMAND = Reproduce()
