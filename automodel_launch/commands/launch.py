"""`launch.py RECIPE ...`: from the command line to a Plan, and from a Plan to its end: docs/architecture.md's line."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from automodel_launch.commands import console
from automodel_launch.commands.command import VERBOSE, Command, Option, Parser
from automodel_launch.commands.one_plan import Planned, planned, rehearsed
from automodel_launch.errors import PlanRefused, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan

# What --force does not override: two jobs would write one set of checkpoints; one would wait for ever
BINDING = {"run-active", "after-failed"}
OF_SWEEPS = ("--sweep", "--sweep-file", "--at-most", "--stop-after-failures")
OPTIONS: tuple[Option, ...] = (
    Option(("-c", "--config"), "configs/RECIPE/CONFIG.yaml, or a path", "CONFIG"),
    Option(("--run",), "attached: submit, follow, exit with the job's result", "PROFILE", group="where"),
    Option(("--batch",), "detached: submit, print the id, exit", "PROFILE", group="where"),
    Option(("--dry-run",), "show what would be submitted, and what is wrong with it, on one screen"),
    Option(("--full",), "with --dry-run: everything, to the byte"),
    Option(("--name",), "the run's name (default: RECIPE-CONFIG-hash of what is trained)", "NAME"),
    Option(("--after",), "begin when the run of that job, or of several with commas, has completed", "JOB"),
    Option(("--from",), "begin with the weights of a checkpoint of another run (default: its last)", "RUN[:STEP]"),
    Option(("--fresh",), "start a run again, beside one of the same name"),
    Option(("--export",), "submit nothing: write a directory that runs the job where there is no launcher", "DIR"),
    Option(("--export-plain",), "submit nothing: write a readable sbatch script, with torchrun alone", "FILE.sh"),
    Option(("--force",), "submit in spite of error findings"),
    Option(("--offline",), "ask no cluster anything"),
    Option(
        ("--rehearse",),
        "try the framework's own set-up and one step first, without a GPU; =memory: and measure what it takes",
        "memory",
        group="rehearsal",
        bare="on",
    ),
    Option(("--no-rehearse",), "never do so (a submission to Slurm or Docker does)", group="rehearsal"),
    VERBOSE,
    Option(("--sweep",), "several values of a key, a run each; repeated: each with each", "KEY=V1,V2", many=True),
    Option(("--sweep-file",), "the same from a file: grid, zip, list, or points with names", "FILE"),
    Option(("--at-most",), "points of a sweep that may run at once", "N"),
    Option(("--stop-after-failures",), "failed points of a sweep after which no other one begins", "N"),
)


class LaunchCommand(Command):
    """A command that makes a plan."""

    options = OPTIONS

    def register(self, parser: Parser) -> None:
        """RECIPE and overrides."""
        parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or the path of a script")
        parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="key=value, +key=value, ~key")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Options and overrides in any order, overrides in AutoModel's form too."""
        # argparse would take the next word, an override, for the value of one that has none
        bare = {name: f"{name}={option.bare}" for option in self.options if option.bare for name in option.names}
        args = self.parser().parse_intermixed_args([bare.get(word, word) for word in self.words(argv)])
        if args.rehearse not in (None, "on", "memory"):
            raise UsageError(f"--rehearse={args.rehearse} is not understood.", "--rehearse, or --rehearse=memory")
        return args


class Launch(LaunchCommand):
    """Preview, or submit and follow."""

    name = "RECIPE"

    @property
    def about(self) -> str:
        """It has no word of its own, and stands in no list of commands."""
        return "plan a job, check it, and run it"

    @property
    def usage(self) -> dict[str, str]:
        """RECIPE stands first already."""
        return {"RECIPE [OVERRIDE ...]": "[OVERRIDE ...]"}

    def run(self, args: argparse.Namespace) -> int:
        """To the preview, or to the job's end."""
        refuse_both(args)
        if args.full and not args.dry_run:
            raise UsageError("--full belongs to --dry-run. Nothing was submitted.", "--dry-run --full")
        if args.sweep or args.sweep_file:
            from automodel_launch.commands import sweep

            return sweep.run(self, args)
        for option in ("--at-most", "--stop-after-failures"):
            if getattr(args, option[2:].replace("-", "_")) is not None:
                raise UsageError(f"{option} belongs to a sweep. Nothing was submitted.", "--sweep KEY=VALUE,VALUE")
        parts = planned(self, args)
        refuse_sweep(args, parts)
        if parts.plan.after and not args.dry_run:
            code, parts = self._follow_up(args, parts)
            if code is not None:
                return code
        return carry_out(args, parts)

    def _follow_up(self, args: argparse.Namespace, parts: Planned) -> tuple[int | None, Planned]:
        """Where its place does not keep a job waiting: wait here, and plan anew with what is there then."""
        from automodel_launch.launch import edges
        from automodel_launch.launch.interrupts import Interrupts

        if edges.holds(parts.plan):
            return None, parts
        if any(finding.code == "after-failed" for finding in parts.errors):
            raise _refusal(parts)
        code = edges.wait(parts.plan.after, console.say, Interrupts())
        return code, parts if code is not None else planned(self, args)


def refuse_both(args: argparse.Namespace) -> None:
    """Refuse options of which each says that something else is to be done.

    Raises:
        UsageError: with what to leave out.
    """
    option = "--export" if args.export else "--export-plain" if args.export_plain else None
    if option and args.dry_run:
        raise UsageError(f"{option} writes files, and --dry-run nothing.", "leave out one of them")
    if option and (getattr(args, "sweep", None) or getattr(args, "sweep_file", None)):
        raise UsageError(
            f"{option} takes one launch, and this is a sweep. Nothing was submitted.", "one point at a time"
        )


def carry_out(args: argparse.Namespace, parts: Planned) -> int:
    """Preview a plan, or submit and follow it.

    Raises:
        PlanRefused: a check found an error.
    """
    if args.dry_run:
        return _preview(args, rehearsed(args, parts))
    if args.export or args.export_plain:
        return _export(args, parts)
    from automodel_launch import executors
    from automodel_launch.commands import run_state

    end = run_state.finished(parts.plan, args.offline)
    if end is not None:
        return _say_finished(args, parts.plan, end)
    if not parts.errors:  # which say more
        executors.get(parts.plan.executor).ready()
    parts = rehearsed(args, parts, submits=True)
    if any(finding.code == "after-failed" or not args.force for finding in parts.errors):
        raise _refusal(parts)
    _tell(parts.findings)
    return _submit(args, parts)


def _export(args: argparse.Namespace, parts: Planned) -> int:
    from automodel_launch.reproduce import export

    if parts.plan.after:
        raise UsageError("an exported job knows no other run, whose end it could wait for.", "leave out --after")
    if parts.plan.evaluation:
        message = "an exported job evaluates no checkpoints (on_checkpoint)."
        raise UsageError(message, "run.env.on_checkpoint=null")
    if parts.errors and not args.force:
        raise _refusal(parts)
    _tell([finding for finding in parts.findings if finding.level != "note"])
    commands = [export.directory(parts.plan, args.export, parts.here)] if args.export else []
    commands += [export.plain(parts.plan, args.export_plain)] if args.export_plain else []
    if args.json:
        console.document({"run_name": parts.plan.run_name, "commands": commands})
    else:
        console.out("\n".join(commands))
    return 0


def refuse_sweep(args: argparse.Namespace, parts: Planned) -> None:
    """Refuse a run's name that is a sweep's.

    Raises:
        UsageError: with another name.
    """
    from automodel_launch.jobs import sweeps

    sweeps.refuse_run(parts.here.records, args.name)


def _preview(args: argparse.Namespace, parts: Planned) -> int:
    from automodel_launch.commands import preview

    if args.json:
        console.document({**preview.document(parts.plan, parts.findings), "rehearsal": parts.rehearsal})
    else:
        removed = tuple(text[1:] for text in args.overrides if text.startswith("~"))
        tried = args.no_rehearse or args.rehearse
        view = preview.View(args.offline, args.full, console.colours(parts.theme), removed, rehearsed=bool(tried))
        preview.show(parts.plan, parts.findings, view)
    return PlanRefused.exit_code if parts.errors else 0


def _say_finished(args: argparse.Namespace, plan: Plan, end: dict[str, Any]) -> int:
    if args.json:
        document = {"run_name": plan.run_name, "state": "FINISHED", "plan_hash": plan.plan_hash, **end}
        console.document(document, indent=None)
        return 0
    step = end.get("step")
    console.say(f"run {plan.run_name} is finished (step {step}); nothing was started. --fresh starts it again.")
    for label, key in (("checkpoint", "checkpoint"), ("for transformers", "hf")):
        if end.get(key):
            console.say(f"  {label}: {end[key]}")
    return 0


def _refusal(parts: Planned) -> PlanRefused:
    from automodel_launch.commands import preview

    return refusal(parts.plan.run_name, parts.errors, preview.findings_text(parts.errors), "the whole plan")


def refusal(name: str, errors: Sequence[Finding], text: str, whole: str) -> PlanRefused:
    """Why `name` is not submitted: `text` tells the errors, --dry-run shows `whole`."""
    forced = "" if any(finding.code in BINDING for finding in errors) else "; --force submits it all the same"
    head = f"{name} was not submitted: {console.many(len(errors), 'error')}."
    return PlanRefused(f"{head}\n{text}", f"--dry-run shows {whole}{forced}")


def _tell(findings: list[Finding]) -> None:
    from automodel_launch.commands import preview

    if findings:
        console.say(preview.findings_text(findings))


def _submit(args: argparse.Namespace, parts: Planned) -> int:
    from automodel_launch.commands import one_job
    from automodel_launch.launch import closing
    from automodel_launch.launch.interrupts import Interrupts
    from automodel_launch.launch.notes import noted
    from automodel_launch.launch.submit import submit

    here, plan = parts.here, noted(parts.plan, parts.findings)
    if here.elsewhere is not None and not here.records.is_dir():
        console.say(f"{here.root} cannot be written: records and local runs are kept in {here.elsewhere}")
    began = time.monotonic()
    console.say(f"starting {plan.job_id} on {plan.profile_name}: {_size(plan)} ...")
    interrupts = Interrupts()
    plan, record = submit(plan, here, interrupts=interrupts, say=console.say)
    console.say(f"started {plan.job_id} in {time.monotonic() - began:.1f} s; logs in {plan.job_dir}/logs")
    if plan.mode == "batch":
        if args.json:
            console.document(asdict(record), indent=None)
        else:
            console.out(plan.job_id)
            for verb in ("attach", "status", "cancel"):
                console.say(f"  python launch.py {verb} {plan.job_id}")
        return interrupts.code
    status, code = one_job.follow(args, record, interrupts, own=True)
    if args.json:
        console.result({**asdict(record), **asdict(status), "exit_code": code})
    console.say(closing.closing_block(record, status, seen=[0]))
    return code


def _size(plan: Plan) -> str:
    nodes = f"{console.many(plan.nodes, 'node')} x " if plan.nodes > 1 else ""
    return nodes + console.many(plan.processes_per_node, "process", "processes")


COMMAND = Launch()
