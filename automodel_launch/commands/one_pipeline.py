"""What the commands do where JOB names a pipeline: its steps and their states; `status`, `attach` and `cancel`."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from automodel_launch import contract, workspace
from automodel_launch.commands import console, one_job, one_sweep, sweep_acts, sweep_follow
from automodel_launch.commands.one_sweep import Row
from automodel_launch.errors import JobError, LaunchError
from automodel_launch.jobs import pipelines, records, sweeps
from automodel_launch.jobs.pipelines import Pipeline, PipelineStep
from automodel_launch.jobs.records import Record, Status
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.launch import cancelling, closing, waiting
from automodel_launch.launch.interrupts import Interrupts


class Look(NamedTuple):
    """A step with its last job, or its sweep with the points of that, and how it stands."""

    step: PipelineStep
    now: Status
    record: Record | None = None
    sweep: Sweep | None = None
    rows: list[Row] = []  # noqa: RUF012 (never changed)

    @property
    def over(self) -> bool:
        """Whether nobody runs it, or could."""
        return sweep_follow.is_over(self.rows) if self.sweep else self.now.over or self.now.forgotten

    @property
    def called(self) -> str:
        """How the other commands name it."""
        return self.sweep.name if self.sweep else self.record.job_id if self.record else ""


def named(args: argparse.Namespace) -> Pipeline | None:
    """The pipeline that JOB names, None where it names something else."""
    return pipelines.find(workspace.find(args.env).records, args.job)


def only_sweep(args: argparse.Namespace) -> Sweep | None:
    """The sweep of the pipeline that JOB names, None where it names something else.

    Raises:
        JobError: none of its steps is a sweep, or several are.
    """
    pipeline = named(args)
    if pipeline is None:
        return None
    folder = workspace.find(args.env).records
    swept = {step.sweep: step.name for step in pipeline.steps if step.sweep}
    names = [f"{sweep} ({step})" for sweep, step in swept.items()]
    if len(names) != 1:
        what = "several steps of it are sweeps" if names else "no step of it is a sweep"
        fix = f"one of {', '.join(names)}" if names else f"python launch.py report {pipeline.name}"
        raise JobError(f"{pipeline.name} is a pipeline, and {what}.", fix)
    console.say(f"sweep {names[0]} of pipeline {pipeline.name}")
    found = sweeps.exact(folder, next(iter(swept)))
    if found is None:
        raise JobError(f"no point of step {next(iter(swept.values()))} was submitted.", pipeline.again)
    return found


def look(args: argparse.Namespace, pipeline: Pipeline) -> list[Look]:
    """Each step as it is now; those that wait are let go, or cancelled, where that is due."""
    folder = workspace.find(args.env).records
    known = records.all_records(folder)
    return [_look(args, step, known) for step in pipeline.steps]


def _look(args: argparse.Namespace, step: PipelineStep, known: list[Record]) -> Look:
    folder = workspace.find(args.env).records
    sweep = sweeps.exact(folder, step.sweep)
    if sweep is not None:
        rows = one_sweep.look(args, sweep)
        return Look(step, _of_all(rows), None, sweep, rows)
    record = pipelines.job_of(known, step)
    if record is None:
        return Look(step, one_sweep.NOT_THERE)
    record, now = waiting.look_at(folder, record)
    return Look(step, now, record)


def _of_all(rows: list[Row]) -> Status:
    """A sweep's state: that of a point that runs or waits, else the first failure, else that all have completed."""
    for wanted in (contract.RUNNING, contract.PENDING):
        for row in rows:
            if not row.over and row.now.state == wanted:
                return Status(wanted, reason=row.why, advice=row.now.advice)
    left = [row for row in rows if row.now.state != contract.COMPLETED]
    return left[0].now if left else Status(contract.COMPLETED)


def status(args: argparse.Namespace, pipeline: Pipeline) -> int:
    """A line a step."""
    looks = look(args, pipeline)
    if args.json:
        console.document(document(pipeline, looks))
        return 0
    console.out(counted(pipeline, looks))
    cells = [["step", "needs", "state", "at", "job", ""]]
    for one in looks:
        at = (
            f"{_completed(one)} of {len(one.rows)}"
            if one.sweep
            else ""
            if one.now.step is None
            else f"step {one.now.step + 1}"
        )
        cells.append([one.step.name, ", ".join(one.step.needs), one.now.state, at, one.called, _why(one)])
    columns = console.width()
    console.out("\n".join(console.cut_line(f"  {line}", columns) for line in console.table(cells)))
    go_on = _go_on(pipeline, looks)
    if go_on:
        console.out(f"  go on: {go_on}")
    return 0


def counted(pipeline: Pipeline, looks: list[Look]) -> str:
    """`NAME: 2 COMPLETED, 1 RUNNING`"""
    states = [one.now.state for one in looks]
    return f"{pipeline.name}: " + ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))


def _completed(one: Look) -> int:
    return sum(row.now.state == contract.COMPLETED for row in one.rows)


def _why(one: Look) -> str:
    if one.now.state == contract.COMPLETED:
        return ""
    return " ".join(waiting.why(one.record, one.now).split())


def _go_on(pipeline: Pipeline, looks: list[Look]) -> str | None:
    """How, where nothing is left that runs or waits, and something has not completed."""
    done = all(one.now.state == contract.COMPLETED or _will_do(one, looks) for one in looks)
    stands = not done and all(one.over for one in looks)
    advice = next((one.now.advice for one in looks if one.now.advice and not one.now.over), None)
    return advice or (pipeline.again if stands else None)


def _will_do(one: Look, looks: list[Look]) -> bool:
    """Whether all that need a sweep take those points that have completed: its failures are none of the pipeline's."""
    behind = [other.step for other in looks if one.step.name in other.step.needs]
    taken = bool(behind) and all(one.step.name in step.any_of for step in behind)
    return taken and one.over and _completed(one) > 0


def document(pipeline: Pipeline, looks: list[Look]) -> dict[str, Any]:
    """The steps as JSON data."""
    own = {"pipeline": pipeline.name, "plan_hash": pipeline.plan_hash, "submitted": pipeline.submitted}
    return {**own, "steps": [_document(one) for one in looks], "go_on": _go_on(pipeline, looks)}


def _document(one: Look) -> dict[str, Any]:
    told = {key: getattr(one.now, key) for key in ("state", "code", "step", "reason", "error")}
    own = {"name": one.step.name, "needs": list(one.step.needs), **told}
    if one.sweep:
        return {**own, **one_sweep.document(one.sweep, one.rows)}
    record = one.record
    slurm_id = record.handle.get("slurm_id") if record else None
    return {**own, "run_name": one.step.run_name, "job_id": record.job_id if record else None, "slurm_id": slurm_id}


def attach(args: argparse.Namespace, pipeline: Pipeline) -> int:
    """Follow one step after the other to its end; the exit code of the first that has failed. Ctrl-C leaves them."""
    interrupts, codes = Interrupts(), dict[str, int]()
    for one in look(args, pipeline):
        if one.record is None and one.sweep is None:
            console.say(f"step {one.step.name}: no job of it was submitted; go on: {pipeline.again}")
            codes[one.step.name] = 1
            continue
        codes[one.step.name] = _follow(args, one, interrupts)
        if interrupts.received:
            return interrupts.code
    looks = look(args, pipeline)
    if args.json:
        console.document(document(pipeline, looks), indent=None)
    else:
        console.out(counted(pipeline, looks))
    well = {one.step.name for one in looks if _will_do(one, looks)}
    return next((code for name, code in codes.items() if code and name not in well), 0)


def _follow(args: argparse.Namespace, one: Look, interrupts: Interrupts) -> int:
    console.say(f"step {one.step.name}: {one.called} {one.now.state}")
    if one.sweep:
        rows = one.rows if one.over else sweep_follow.follow(args, one.sweep, interrupts)
        return sweep_follow.result(rows)
    assert one.record is not None  # who calls has asked
    if one.over:
        return closing.exit_code(one.now)
    end, code = one_job.follow(args, one.record, interrupts)
    console.say(closing.closing_block(one.record, end, seen=[0]))
    return code


def cancel(args: argparse.Namespace, pipeline: Pipeline) -> int:
    """Stop every step that has not ended, the last ones first: none of them may begin while others end.

    Raises:
        JobError: there is none.
    """
    looks = [one for one in look(args, pipeline) if not one.over]
    if not looks:
        raise JobError(
            f"no step of {pipeline.name} is in the queue or runs.", f"python launch.py status {pipeline.name}"
        )
    failed = sum(not _stop(args, one) for one in reversed(looks))
    after = look(args, pipeline)
    if args.json:
        console.document(document(pipeline, after))
    else:
        console.out(counted(pipeline, after))
    return 1 if failed else 0


def _stop(args: argparse.Namespace, one: Look) -> bool:
    """Whether it has ended."""
    if one.sweep:
        return sweep_acts.stop_all(args, one.sweep, one.rows) == 0
    assert one.record is not None  # who calls has asked
    try:
        told = cancelling.ask(one.record, one.now, args.now)
        console.say(f"stopping step {one.step.name} ({one.record.job_id})" + (f". {told}" if told else ""))
        end = cancelling.wait(one.record, console.say)
        one_job.remember(args, one.record, end)
        if end.state != contract.COMPLETED:
            waiting.end_early(workspace.find(args.env).records, one.record, end)
    except LaunchError as error:
        console.say(f"step {one.step.name}: {error.message}")
        return False
    return True
