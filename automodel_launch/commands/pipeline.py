"""`pipeline FILE`: several launches, of which one needs what another makes, planned as one and submitted in order."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from automodel_launch import workspace
from automodel_launch.commands import console
from automodel_launch.commands.command import Command, Option, Parser
from automodel_launch.errors import PlanRefused, UsageError

if TYPE_CHECKING:
    from automodel_launch.jobs.records import Record, Status
    from automodel_launch.jobs.sweeps import Sweep
    from automodel_launch.launch.interrupts import Interrupts
    from automodel_launch.launch.pipeline_running import Follow, FollowSweep, Runner
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plangraph import PlanGraph, Step
    from automodel_launch.plan.planset import PlanSet


class Pipeline(Command):
    """Preview, or submit and follow."""

    name = "pipeline"
    options = (
        Option(("--run",), "attached: submit, follow each step, exit with the first failure", "PROFILE", group="where"),
        Option(("--batch",), "detached: submit, print the ids, exit", "PROFILE", group="where"),
        Option(("--dry-run",), "show every step, and what is wrong with it"),
        Option(("--force",), "submit in spite of error findings"),
        Option(("--offline",), "ask no cluster anything"),
    )

    @property
    def usage(self) -> dict[str, str]:
        """FILE has to be there."""
        return {"[FILE]": "FILE"}

    def register(self, parser: Parser) -> None:
        """FILE and overrides."""
        parser.add_argument(
            "file", metavar="FILE", nargs="?", help="a name in configs/pipeline/, or the path of a .yaml file"
        )
        parser.add_argument(
            "overrides", metavar="OVERRIDE", nargs="*", help="STEP.key=value, +STEP.key=value, ~STEP.key"
        )

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Options and overrides in any order."""
        from automodel_launch.config.overrides import MARK

        return self.parser().parse_intermixed_args([word.removeprefix(MARK) for word in self.words(argv)])

    def run(self, args: argparse.Namespace) -> int:
        """To the preview, or to the end of the last step."""
        from automodel_launch.config import pipelines
        from automodel_launch.launch import pipeline_running as running
        from automodel_launch.launch import pipelining

        here = workspace.find(args.env)
        if args.file is None:
            raise UsageError("pipeline: which FILE?", "python launch.py pipeline tiny --dry-run")
        path = pipelines.find(here.configs / "pipeline", args.file)
        specs = pipelines.read(path, args.overrides)
        maker = pipelining.Maker(
            here, specs, args.run or args.batch or "local", "batch" if args.batch else "run", args.offline
        )
        graph = maker.all(path)
        runner = running.Runner(maker, graph, console.say, _follower(args), _sweep_follower(args), force=args.force)
        if args.batch:
            runner.refuse_detached()
        if not args.dry_run:
            graph = runner.graph = pipelining.rehearsed(graph, here.rehearsals, args.offline, console.say)
        errors = [finding for step in graph.steps for finding in step.errors]
        if args.dry_run:
            _preview(args, graph)
            return PlanRefused.exit_code if errors else 0
        if errors and not args.force:
            raise _refusal(graph, errors)
        _tell(graph)
        return _submit(args, runner)


def _refusal(graph: PlanGraph, errors: list[Finding]) -> PlanRefused:
    from automodel_launch.commands import preview
    from automodel_launch.commands.launch import refusal

    told = [preview.findings_text(step.errors, whose=f"step {step.name}: ") for step in graph.steps if step.errors]
    return refusal(f"pipeline {graph.name}", errors, "\n".join(told), "every step")


def _preview(args: argparse.Namespace, graph: PlanGraph) -> None:
    if args.json:
        console.document(graph.document())
        return
    to_do = sum(step.to_do for step in graph.steps)
    console.out(f"pipeline {graph.name}: {console.many(len(graph.steps), 'step')}, {to_do} to do")
    rows = [("step", "needs", "run", "where", "")]
    for step in graph.steps:
        where = f"{step.plan.profile_name}, {console.many(step.plan.nodes, 'node')} x {step.plan.processes_per_node}"
        said = f"{step.job_id}: {step.state}" if step.job_id else step.state.lower()
        if step.points and step.to_do:
            said = f"{len(step.points)} of {len(step.plans)} points are not to do"
        rows.append((step.name, ", ".join(map(step.told, step.needs)), step.called, where, said))
    console.out("\n".join(f"  {line}" for line in console.table(rows)))
    for step in graph.steps:
        if step.sweep is not None:
            _show_sweep(step, step.sweep)
        for name, path in step.promises.items() if step.to_do else ():
            console.out(f"  ${{steps.{step.name}.{name}}} = {path}")
    _tell(graph, dry=True)
    console.out(f"  plan {graph.plan_hash[:12]}; --json shows each step's plan")


def _show_sweep(step: Step, made: PlanSet) -> None:
    from automodel_launch.commands import one_sweep

    limit = f", at most {made.at_most} at once" if made.at_most else ""
    console.out(f"  sweep {made.name}: {console.many(len(made.points), 'point')}{limit}")
    rows = [["", "run", *one_sweep.short(made.keys), ""]]
    for point in made.points:
        values = one_sweep.settings(dict(point.settings), made.keys)
        rows.append(["", point.label, *values, step.points.get(point.plan.run_name, "").lower()])
    console.out("\n".join(console.cut_line(f"  {line}", console.width()) for line in console.table(rows)))


def _tell(graph: PlanGraph, dry: bool = False) -> None:
    from automodel_launch.commands import preview

    for step in graph.steps:
        text = preview.findings_text(step.findings, sys.stdout if dry else sys.stderr, f"step {step.name}: ")
        if text:
            (console.out if dry else console.say)(text)


def _follower(args: argparse.Namespace) -> Follow:
    from automodel_launch.commands import one_job
    from automodel_launch.launch import closing

    def followed(name: str, record: Record, own: bool, interrupts: Interrupts) -> tuple[Status, int]:
        console.say(f"step {name}: following {record.job_id}")
        status, code = one_job.follow(args, record, interrupts, own=own)
        console.say(closing.closing_block(record, status, seen=[0]))
        return status, code

    return followed


def _sweep_follower(args: argparse.Namespace) -> FollowSweep:
    from automodel_launch import contract
    from automodel_launch.commands import one_sweep, sweep_follow

    def followed(name: str, sweep: Sweep, interrupts: Interrupts) -> tuple[bool, int, int]:
        console.say(f"step {name}:")
        rows = sweep_follow.follow(args, sweep, interrupts)
        console.say(one_sweep.counted(sweep, rows))
        completed = sum(row.now.state == contract.COMPLETED for row in rows)
        over = sweep_follow.is_over(rows)
        return over, sweep_follow.result(rows) if over else interrupts.code, completed

    return followed


def _submit(args: argparse.Namespace, runner: Runner) -> int:
    from automodel_launch.launch import pipeline_running

    code = 0
    pipeline_running.record(runner, _again(args))
    if args.batch:
        runner.detached()
    else:
        code = runner.attached()
    if args.json:
        graph = runner.graph
        document = {"pipeline": graph.name, "plan_hash": graph.plan_hash, "steps": runner.document(), "exit_code": code}
        console.document(document, indent=None)
    elif args.batch:
        made = [(runner.graph.step(name), records) for name, records in runner.jobs.items()]
        console.out("\n".join(step.called if step.sweep else records[0].job_id for step, records in made))
    if code:
        done = ", ".join(name for name, ended in runner.ended.items() if ended == 0) or "none"
        console.say(f"pipeline {runner.graph.name} has not completed; completed steps: {done}.")
        console.say("The same command goes on from there.")
    return code or runner.interrupts.code


def _again(args: argparse.Namespace) -> str:
    """The command that goes on, to be pasted; a secret in it is typed anew."""
    import shlex

    from automodel_launch.profile import hidden

    where = ["--batch", args.batch] if args.batch else ["--run", args.run or "local"]
    env = ["--env", args.env] if args.env else []
    words = shlex.join(["python", "launch.py", "pipeline", args.file, *where, *env, *args.overrides])
    return str(hidden.message(words)[0])


COMMAND = Pipeline()
