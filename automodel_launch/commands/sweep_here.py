"""A sweep where nobody takes many jobs at once (this machine, Docker): its points one after the other, attached."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.commands import console
from automodel_launch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automodel_launch.launch.interrupts import Interrupts
    from automodel_launch.plan.planset import PlanSet, Point
    from automodel_launch.workspace import Workspace


def refuse_detached(made: PlanSet) -> None:
    """Nobody would start the second point.

    Raises:
        UsageError: the sweep is to be detached.
    """
    plan = made.plans[0]
    if plan.mode == "batch":
        raise UsageError(
            f"--batch {plan.profile_name}: executor '{plan.executor}' takes one job at a time, and a detached sweep has"
            " nobody who starts the next one. Nothing was started.",
            f"--run {plan.profile_name} runs its points one after the other; a Slurm profile takes them all at once",
        )


def run(args: argparse.Namespace, here: Workspace, made: PlanSet, skipped: Mapping[str, str]) -> int:
    """Run every point that is not finished; one that fails does not keep the others from being run.

    The exit code is that of the first point that has failed. Ctrl-C stops the point that runs, and no other begins.

    Raises:
        PlanRefused: NeMo-Run cannot be imported; nothing is left.
        RecordError: the sweep's record cannot be written.
    """
    from automodel_launch import executors
    from automodel_launch.commands import one_sweep
    from automodel_launch.launch import sweep_submit
    from automodel_launch.launch.interrupts import Interrupts

    todo = [point for point in made.points if point.plan.run_name not in skipped]
    if todo:
        executors.get(made.plans[0].executor).ready()
    sweep = sweep_submit.record_sweep(made, here)
    interrupts, codes, numbers = Interrupts(), list[int](), sweep.numbers
    for point in todo:
        codes.append(_one(args, here, f"{made.name}.{numbers[point.plan.run_name]}", point, interrupts))
        failed = sum(code != 0 for code in codes)
        if interrupts.received:
            break
        if made.stop_after and failed >= made.stop_after:
            console.say(f"{made.name}: {console.many(failed, 'failure')}, so no further point is started")
            break
    left = len(todo) - len(codes)
    if left:
        console.say(f"not started: {console.many(left, 'point')}; the same command again goes on with them")
    one_sweep.status(args, sweep)
    if interrupts.received:
        return interrupts.code
    return next((code for code in codes if code), 0)


def _one(args: argparse.Namespace, here: Workspace, called: str, point: Point, interrupts: Interrupts) -> int:
    """Submit and follow one point; its exit code, 4 where it could not be started."""
    from automodel_launch.commands import one_job
    from automodel_launch.errors import LaunchError
    from automodel_launch.launch import closing
    from automodel_launch.launch.submit import submit

    settings = " ".join(f"{key}={value}" for key, value in point.settings)
    console.say(f"{called}: {settings}")
    try:
        plan, record = submit(point.plan, here, interrupts=interrupts, say=console.say)
    except LaunchError as error:
        console.say(f"{called} was not started: {error.message}")
        return error.exit_code
    console.say(f"started {plan.job_id}; logs in {plan.job_dir}/{contract.LOGS}")
    status, code = one_job.follow(args, record, interrupts, own=True)
    console.say(closing.closing_block(record, status, seen=[0]))
    return code
