"""`launch.py RECIPE --sweep KEY=V1,V2 ...`: from the command line to a PlanSet, and to its submission."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from automodel_launch.commands import console, one_plan
from automodel_launch.commands.command import Command
from automodel_launch.errors import PlanRefused, UsageError

if TYPE_CHECKING:
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.planset import PlanSet
    from automodel_launch.workspace import Workspace


def run(command: Command, args: argparse.Namespace) -> int:
    """Preview the sweep, or submit it.

    Raises:
        UsageError, ConfigError: what is swept, or a limit, is wrong.
        PlanRefused: a check found an error; nothing was submitted.
    """
    from automodel_launch import executors
    from automodel_launch.commands import sweep_here
    from automodel_launch.launch import sweep_beside

    here, made = _made(command, args)
    code, made = _follow_up(command, args, made)
    if code is not None:
        return code
    together = executors.together(made.plans[0].executor) is not None
    if not together:
        sweep_here.refuse_detached(made)
    if args.dry_run or not together:
        return _checked(args, here, made, together)
    with sweep_beside.alone(made, here.records, os.environ, console.say, args.offline):
        return _checked(args, here, made, together)


def _follow_up(command: Command, args: argparse.Namespace, made: PlanSet) -> tuple[int | None, PlanSet]:
    """Where its place does not keep jobs waiting: wait here, and plan anew with what is there then."""
    from automodel_launch.launch import edges
    from automodel_launch.launch.interrupts import Interrupts

    plan = made.plans[0]
    edges.refuse_detached(plan)
    if args.dry_run or not plan.after or edges.holds(plan):
        return None, made
    code = edges.wait(plan.after, console.say, Interrupts())
    return code, made if code is not None else _made(command, args)[1]


def _checked(args: argparse.Namespace, here: Workspace, made: PlanSet, together: bool) -> int:
    from automodel_launch.commands import preview, sweep_here
    from automodel_launch.launch import sweep_checking, sweeping

    skipped, after = sweep_checking.standing(made, here, args.offline)
    made = sweeping.ready(made, here, skipped, after)
    findings = sweep_checking.run(made, skipped, offline=args.offline)
    findings = sweep_checking.in_order([*findings, *_rehearsed(args, here, made, skipped, findings)])
    errors = [finding for finding in findings if finding.level == "error"]
    if args.dry_run:
        _preview(args, here, made, findings, skipped)
        return PlanRefused.exit_code if errors else 0
    if any(finding.code == "after-failed" or not args.force for finding in errors):
        raise PlanRefused(
            f"{made.name} was not submitted: {console.many(len(errors), 'error')}.\n{preview.findings_text(errors)}",
            "--dry-run shows all points; --force submits them all the same",
        )
    console.say(preview.findings_text(findings)) if findings else None
    return _submit(args, here, made, skipped, after) if together else sweep_here.run(args, here, made, skipped)


def _rehearsed(
    args: argparse.Namespace, here: Workspace, made: PlanSet, skipped: dict[str, str], findings: list[Finding]
) -> list[Finding]:
    from automodel_launch.launch import sweep_rehearsal

    points = [point for point in made.points if point.plan.run_name not in skipped]
    how = one_plan.how_rehearsed(args, submits=not args.dry_run)
    return sweep_rehearsal.rehearse(points, findings, here.rehearsals, **how)


def _made(command: Command, args: argparse.Namespace) -> tuple[Workspace, PlanSet]:
    from automodel_launch.config import sweeps
    from automodel_launch.launch import edges, sweeping

    own = one_plan.named(args)
    here, env_file, recipe = own.here, own.env_file, own.recipe
    fixed = [override.key for override in one_plan.overridden(command, args, recipe, env_file)]
    specs, source = [], one_plan.begins_from(args, here)
    for spec in sweeps.points(args.sweep or [], args.sweep_file, fixed):
        words = argparse.Namespace(**{**vars(args), "overrides": [*args.overrides, *spec.settings.values()]})
        specs.append((spec, one_plan.layered(command, words, recipe, env_file, source)))
    limits = sweeping.Limits(_count(args, "at_most"), _count(args, "stop_after_failures"))
    options: dict[str, Any] = {"mode": "batch" if args.batch else "run", "name": args.name, "fresh": args.fresh}
    after = edges.named(here, args.after, args.offline)
    options |= {"begins_from": source, "after": after.runs, "promised": after.promised}
    return here, sweeping.make(
        here, env_file, own.profile, recipe, specs, limits=limits, offline=args.offline, **options
    )


def _count(args: argparse.Namespace, option: str) -> int | None:
    value = getattr(args, option)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"--{option.replace('_', '-')} {value}: expected a number from 1 on.")
    return int(value)


def _preview(
    args: argparse.Namespace, here: Workspace, made: PlanSet, findings: list[Finding], skipped: dict[str, str]
) -> None:
    from automodel_launch.commands import preview

    if args.json:
        rows = [preview.finding_document(finding) for finding in findings]
        console.document({**made.document(), "left_out": skipped, "findings": rows})
        return
    console.out("\n".join(_table(here, made, skipped)))
    if findings:
        console.out(preview.findings_text(findings, sys.stdout))
    if made.script:
        console.out(f"script ({made.directory}/script):")
        console.exact(made.script)


def _table(here: Workspace, made: PlanSet, skipped: dict[str, str]) -> list[str]:
    from automodel_launch.commands import one_sweep
    from automodel_launch.launch import sweep_checking, sweep_submit

    plan, keys = made.plans[0], made.keys
    hours = [sweep_checking.gpu_hours(point.plan) for point in made.points]
    total = f", {sum(hours):,.1f} GPU-hours at most" if all(hours) else ""
    limit = f", at most {made.at_most} at once" if made.at_most else ""
    head = f"sweep {made.name}: {console.many(len(made.points), 'point')} on {plan.profile_name}{limit}{total}"
    rows = [["", "run", *one_sweep.short(keys), "GPU-hours" if any(hours) else "", ""]]
    numbers = sweep_submit.recorded(made, here).numbers
    for point, each in zip(made.points, hours, strict=True):
        values = one_sweep.settings(dict(point.settings), keys)
        left_out = skipped.get(point.plan.run_name, "")
        number = f".{numbers[point.plan.run_name]}"
        rows.append([number, point.label, *values, f"{each:,.1f}" if each else "", left_out])
    return [head, *(console.cut_line(f"  {line}", console.width()) for line in console.table(rows))]


def _submit(args: argparse.Namespace, here: Workspace, made: PlanSet, skipped: dict[str, str], after: list[str]) -> int:
    from automodel_launch.launch import sweep_submit
    from automodel_launch.launch.interrupts import Interrupts

    interrupts = Interrupts()
    if len(skipped) < len(made.points):
        records = sweep_submit.submit_together(made, here, os.environ, interrupts, console.say, skipped, after)
    else:
        records = []
        sweep_submit.record_sweep(made, here)
    left = f"; left out, since finished, in the queue or running: {len(skipped)}" if skipped else ""
    console.say(f"{made.name}: {len(records)} of {console.many(len(made.points), 'point')} submitted{left}")
    if args.json:
        jobs = [{"job_id": record.job_id, "slurm_id": record.handle.get("slurm_id")} for record in records]
        console.document({"sweep": made.name, "plan_hash": made.plan_hash, "jobs": jobs, "left_out": skipped})
    else:
        console.out(made.name)
        console.say(f"  python launch.py status {made.name}")
    return interrupts.code
