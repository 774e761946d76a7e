"""What `status` and `cancel` say of the evaluations that a training's batch script has submitted (`on_checkpoint`)."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from automodel_launch import contract, workspace
from automodel_launch.commands import console
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import evaluation_jobs
from automodel_launch.launch.evaluation_jobs import Evaluations

_SHOWN = 4


def of(args: argparse.Namespace, record: Record) -> Evaluations:
    """Those of a job's run."""
    return evaluation_jobs.of(workspace.find(args.env).records, record)


def lines(args: argparse.Namespace, record: Record) -> Iterator[str]:
    """How many there are in each state, and each that has not completed."""
    found = of(args, record)
    states = Counter(status.state for _, status in found.jobs)
    if states:
        yield f"  evaluations: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
    told = [_line(*one) for one in found.jobs if one[1].state != contract.COMPLETED]
    told += [f"step {step}: not submitted: {why}" for step, why in found.refused]
    yield from (f"    {line}" for line in told[-_SHOWN:])
    if len(told) > _SHOWN:
        yield f"    {len(told) - _SHOWN} more: python launch.py checkpoints {record.run_name}"


def document(args: argparse.Namespace, record: Record) -> list[dict[str, Any]]:
    """Each as JSON data; one that was not submitted has no job_id."""
    found = of(args, record)
    rows = [
        {"job_id": one.job_id, "step": evaluation_jobs.step_of(one), "state": now.state, "why": now.error or now.reason}
        for one, now in found.jobs
    ]
    return [*rows, *({"job_id": None, "step": str(step), "state": None, "why": why} for step, why in found.refused)]


def say_what_goes_on(args: argparse.Namespace, record: Record) -> None:
    """After a training was cancelled: its checkpoints are evaluated all the same."""
    left = of(args, record).underway
    if left:
        names = console.listed([one.job_id for one, _ in left], _SHOWN)
        many = console.many(len(left), "evaluation")
        console.say(f"{many} of its checkpoints {'goes' if len(left) == 1 else 'go'} on: {names}")
        console.say("hint: python launch.py cancel JOB ends one of them")


def _line(record: Record, now: Status) -> str:
    why = " ".join((now.error or now.reason or "").split())
    return f"step {evaluation_jobs.step_of(record)}: {now.state} ({record.job_id}){f': {why}' if why else ''}"
