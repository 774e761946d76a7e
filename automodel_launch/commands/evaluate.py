"""`evaluate RUN[:STEP|all]`: loss and perplexity of a run's checkpoints on held-out data, each as a job of its own."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from automodel_launch import workspace
from automodel_launch.commands import console, launch, one_plan
from automodel_launch.commands.command import Parser
from automodel_launch.commands.launch import LaunchCommand
from automodel_launch.commands.one_plan import Planned
from automodel_launch.errors import LaunchError, UsageError
from automodel_launch.jobs import pipelines
from automodel_launch.profile import profiles
from automodel_launch.profile.profiles import Layer

if TYPE_CHECKING:
    from automodel_launch.launch.origin import Origin

_NOT_HERE = {"--from", "--after", *launch.OF_SWEEPS}


class Evaluate(LaunchCommand):
    """Plan a job of the recipe `evaluate` for each checkpoint, and go on as any launch."""

    name = "evaluate"
    options = tuple(option for option in launch.OPTIONS if _NOT_HERE.isdisjoint(option.names))

    def register(self, parser: Parser) -> None:
        """RUN and overrides."""
        text = "a run or job, and the step in a checkpoint's name, `last` (default), `best` or `all`"
        parser.add_argument("wanted", metavar="RUN[:STEP|all]", nargs="?", help=f"{text}; without it, -c is evaluated")
        parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="key=value, +key=value, ~key")

    def run(self, args: argparse.Namespace) -> int:
        """To the previews, or to the jobs' ends; the worst exit code of several."""
        launch.refuse_both(args)
        args.recipe, args.after = "evaluate", None
        setattr(args, "from", None)
        if args.wanted is not None and (args.wanted[:1] in "+~" or "=" in args.wanted):
            args.wanted, args.overrides = None, [args.wanted, *args.overrides]
        if args.wanted is None:
            parts = one_plan.planned(self, args)
            launch.refuse_sweep(args, parts)
            return launch.carry_out(args, parts)
        if args.config is not None:
            message = "evaluate RUN takes the run's own config, and -c names another."
            raise UsageError(message, "leave -c out; overrides (KEY=VALUE) change its config")
        return self._of_run(args)

    def _of_run(self, args: argparse.Namespace) -> int:
        from automodel_launch.launch import evaluating

        name, colon, step = args.wanted.partition(":")
        if not name or (colon and not step):
            raise UsageError(f"evaluate {args.wanted!r} is not understood.", "RUN, RUN:STEP, or RUN:all")
        here = workspace.find(args.env)
        with tempfile.TemporaryDirectory(prefix="launch-evaluate-") as scratch:
            found = evaluating.of(pipelines.job(here.records, name), here.recipes, Path(scratch))
            rows = found.chosen(step or "last")
            if len(rows) > 1:
                _refuse_for_many(args)
            damaged, codes = found.faults(rows), []
            for row in rows:
                if row.name in damaged:
                    said = f"checkpoint {row.name} is damaged: {'; '.join(damaged[row.name][:2])}."
                    if len(rows) == 1:
                        raise UsageError(said, found.kept.ways_on(row))
                    console.say(f"error: {said}")
                    codes.append(UsageError.exit_code)
                    continue
                args.config = str(found.write(row, Path(scratch)))
                codes.append(self._one(args, found.origin(row), several=len(rows) > 1))
                args.no_rehearse = True  # of the next ones: they differ in the checkpoint's name alone
            return max(codes)

    def _one(self, args: argparse.Namespace, origin: Origin, several: bool) -> int:
        if several:
            console.say(f"{origin.run_name}, step {origin.step}:")
        try:
            parts = self._planned(args, origin)
            launch.refuse_sweep(args, parts)
            if several and {finding.code for finding in parts.errors} == {"run-active"}:
                console.say(f"{parts.plan.run_name} has a job at it already")
                return 0
            return launch.carry_out(args, parts)
        except LaunchError as error:
            if not several:
                raise
            console.say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
            return error.exit_code

    def _planned(self, args: argparse.Namespace, origin: Origin) -> Planned:
        from automodel_launch.launch import checking, planning
        from automodel_launch.profile import alone

        own = one_plan.named(args)
        merged = one_plan.layered(self, args, own.recipe, own.env_file)
        said, _ = profiles.merge(own.env_file.layers(own.profile))  # of a training's size, which this is not
        plan = planning.make(
            own.here,
            own.env_file,
            own.profile,
            own.recipe,
            merged,
            mode="batch" if args.batch else "run",
            name=args.name,
            fresh=args.fresh,
            offline=args.offline,
            begins_from=origin,
            typed=(self.name, f"{origin.run_name}:{origin.step}"),
            own=Layer(alone.EVALUATION, alone.size_of_evaluation(own.recipe.resources.get("nodes", 1), said)),
        )
        return Planned(own.here, plan, checking.run(plan, offline=args.offline), own.env_file.theme)


def _refuse_for_many(args: argparse.Namespace) -> None:
    """What one checkpoint alone has.

    Raises:
        UsageError: with what to do.
    """
    for option, given in (("--json", args.json), ("--name", args.name), ("--export", args.export)):
        if given:
            raise UsageError(f"{option} takes one checkpoint, and this is several.", "evaluate RUN:STEP")
    if args.export_plain:
        raise UsageError("--export-plain takes one checkpoint, and this is several.", "evaluate RUN:STEP")


COMMAND = Evaluate()
