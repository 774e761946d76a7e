"""PlanGraph -> jobs: submitted in order, each held until what it needs has completed, or started here one by one.

A launcher that dies on the way loses nothing: what was submitted goes on without it, and the same command submits the
rest. Where a place cannot hold jobs, an attached pipeline waits for a step's end before it starts the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from automodel_launch.errors import ClusterError, LaunchError, PlanRefused, StillSubmitting, UsageError
from automodel_launch.jobs import launcher, records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import pipelining, planning, state, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.pipelining import Maker
from automodel_launch.launch.submit import submit
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plangraph import FINISHED, PlanGraph, Step

PATIENCE_S = 180.0  # sbatch may take two minutes
# (step, its job, whether this command has started it, the signals that have come)
Follow = Callable[[str, Record, bool, Interrupts], tuple[Status, int]]


def refuse(findings: Sequence[tuple[str, Finding]]) -> PlanRefused:
    """The error for findings of steps that refuse a pipeline."""
    lines = [f"step {name}: [{finding.code}] {finding.message}" for name, finding in findings]
    fixes = [finding.fix for _, finding in findings if finding.fix]
    return PlanRefused("nothing was submitted: " + "\n".join(lines), fixes[0] if fixes else None)


def _submitted(folder: Path, job_id: str) -> Record | None:
    """A job that another launcher may be submitting, when it has done so; None where it did not come to that.

    Raises:
        ClusterError: it is still at it.
    """
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            record = state.complete(folder, records.find(folder, job_id))
        except StillSubmitting:
            record = None
        if record is not None and not launcher.is_at_it(record):
            lost = record.launcher is not None or (record.last_end or Status("")).state == records.NOT_SUBMITTED
            return None if lost else record
        time.sleep(0.5)
    raise ClusterError(f"{job_id} is being submitted still.", f"python launch.py status {job_id}")


@dataclass
class Runner:
    """Runs what is left of a graph. `say` takes talk, `follow` follows a job to its end, and keeps that."""

    maker: Maker
    graph: PlanGraph
    say: Callable[[str], None]
    follow: Follow
    interrupts: Interrupts = field(default_factory=Interrupts)
    force: bool = False
    jobs: dict[str, Record] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)  # step -> exit code of what was followed
    mine: set[str] = field(default_factory=set)
    stopped: bool = False  # somebody has interrupted the following

    def detached(self) -> None:
        """Submit everything at once.

        Raises:
            UsageError: a place cannot hold a step until what it needs has completed; nothing was submitted.
        """
        for step in self.graph.steps:
            loose = [need.name for need in self._left(step) if not self._holds(step, need)] if step.to_do else []
            if loose:
                raise UsageError(
                    f"step {step.name}: profile {step.plan.profile_name} (executor '{step.plan.executor}') cannot keep"
                    f" a job waiting for step {loose[0]}. Nothing was submitted.",
                    "--run instead of --batch: this command then starts one after the other",
                )
        for step in self.graph.steps:
            if not self.interrupts.received:
                self._start(step)

    def attached(self) -> int:
        """Submit and follow; the exit code of the first step that has failed, else 0.

        What needs a step that has failed is not started; other steps go on to their ends.
        """
        lost: dict[str, str] = {}  # step that cannot be started -> the one whose failure that is
        for step in self.graph.steps:
            needs = [need for need in self._left(step) if step.to_do and not self._holds(step, need)]
            for need in self._left(step):
                if need in needs and self._followed(need.name) and self.stopped:
                    return self.ended[need.name]
                if need.name in lost or self.ended.get(need.name):
                    lost.setdefault(step.name, lost.get(need.name, need.name))
            if self.interrupts.received:
                return self.interrupts.code
            if step.name in lost:
                self.say(f"step {step.name}: not started, since step {lost[step.name]} has failed")
                continue
            self._start(self._anew(step) if needs else step)
        for name in list(self.jobs):
            if self._followed(name) and self.stopped:
                return self.ended[name]
        return next((self.ended[step.name] for step in self.graph.steps if self.ended.get(step.name)), 0)

    def _left(self, step: Step) -> list[Step]:
        """What it needs that has not completed, as far as is known here."""
        needs = [self.graph.step(name) for name in step.needs]
        return [need for need in needs if need.state != FINISHED and self.ended.get(need.name) != 0]

    def _holds(self, step: Step, need: Step) -> bool:
        return pipelining.holds(step, need, pipelining.environ_of(self.maker))

    def _anew(self, step: Step) -> Step:
        """The step with what is there now.

        Raises:
            PlanRefused: a check finds an error in that.
        """
        step = pipelining.again(self.maker, self.graph, step.name)
        if step.errors and not self.force:
            raise refuse([(step.name, finding) for finding in step.errors])
        return step

    def _start(self, step: Step) -> None:
        folder = self.maker.workspace.records
        if step.state == FINISHED:
            self.say(f"step {step.name}: run {step.plan.run_name} is finished")
            return
        other = _submitted(folder, step.job_id) if step.job_id is not None else None
        if other is not None:
            self.jobs[step.name] = other
            self.say(f"step {step.name}: {step.job_id} is {step.state} already")
            return
        environ = pipelining.environ_of(self.maker)
        after = [waiting.run_of(self.jobs[need.name]) for need in self._left(step)]
        plan = step.plan
        if after or plan.after:  # as it is shown, with how those jobs are found; or they have completed meanwhile
            plan = planning.with_job_id(replace(plan, after=tuple(after)), plan.job_id, environ)
        try:
            _, record = submit(plan, self.maker.workspace, environ, self.interrupts, self.say)
        except LaunchError as error:
            error.message = f"step {step.name}: {error.message}"
            raise
        self.jobs[step.name] = record
        self.mine.add(step.name)
        behind = f", behind {', '.join(run['job_id'] for run in after)}" if after else ""
        self.say(f"step {step.name}: submitted {record.job_id} to {record.profile}{behind}")

    def _followed(self, name: str) -> int:
        if name not in self.ended and name in self.jobs:
            status, code = self.follow(name, self.jobs[name], name in self.mine, self.interrupts)
            self.ended[name] = code
            self.stopped = bool(self.interrupts.received) or not status.over
        return self.ended.get(name, 0)

    def document(self) -> list[dict[str, object]]:
        """A row a step: its job, and how that ended where it was followed."""
        rows: list[dict[str, object]] = []
        for step in self.graph.steps:
            record: Record | None = self.jobs.get(step.name)
            handle: Mapping[str, object] = record.handle if record else {}
            rows.append(
                {
                    "name": step.name,
                    "run_name": step.plan.run_name,
                    "job_id": record.job_id if record else None,
                    "slurm_id": handle.get("slurm_id"),
                    "state": step.state or None,
                    "exit_code": self.ended.get(step.name),
                }
            )
        return rows
