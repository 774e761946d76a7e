"""PlanGraph -> jobs: submitted in order, each held until what it needs has completed, or started here one by one.

A launcher that dies on the way loses nothing: what was submitted goes on without it, and the same command submits the
rest. Where a place cannot hold jobs, an attached pipeline waits for a step's end before it starts the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError, PlanRefused, StillSubmitting, UsageError
from automodel_launch.jobs import launcher, pipelines, records, sweeps
from automodel_launch.jobs.records import Record, Status
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.launch import pipeline_ends, pipeline_points, pipelining, planning, state, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.pipelining import Maker
from automodel_launch.launch.submit import submit
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plangraph import FINISHED, PlanGraph, Step
from automodel_launch.plan.planset import PlanSet
from automodel_launch.remote.shell import AT_ONCE

PATIENCE_S = 180.0  # sbatch may take two minutes
# (step, its job, whether this command has started it, the signals that have come)
Follow = Callable[[str, Record, bool, Interrupts], tuple[Status, int]]
# (step, its sweep, the signals that have come): whether it is over, its exit code, how many points have completed
FollowSweep = Callable[[str, Sweep, Interrupts], tuple[bool, int, int]]


def _refuse(step: str, findings: Sequence[Finding]) -> PlanRefused:
    """The error for a step that is refused when its turn has come."""
    lines = [f"step {step} was not submitted:"]
    for finding in findings:
        lines.append(f"[{finding.code}] {finding.message}")
        lines += [f"  fix: {finding.fix}"] if finding.fix else []
    return PlanRefused("\n".join(lines), "the same command goes on from there, once that is mended")


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
    """Runs what is left of a graph. `say` takes talk, `follow` and `follow_sweep` follow to the end, and keep that."""

    maker: Maker
    graph: PlanGraph
    say: Callable[[str], None]
    follow: Follow
    follow_sweep: FollowSweep
    interrupts: Interrupts = field(default_factory=Interrupts)
    force: bool = False
    jobs: dict[str, list[Record]] = field(default_factory=dict)
    partly: set[str] = field(default_factory=set)  # sweeps of which some points have completed, and others failed
    ended: dict[str, int] = field(default_factory=dict)  # step -> exit code of what was followed
    mine: set[str] = field(default_factory=set)
    stopped: bool = False  # somebody has interrupted the following

    def refuse_detached(self) -> None:
        """What cannot be submitted at once.

        Raises:
            UsageError: a place cannot hold a step until what it needs has completed; nothing was submitted.
        """
        for step in self.graph.steps:
            pipeline_points.refuse_detached(step)
            loose = [need.name for need in self._left(step) if not self._holds(step, need)] if step.to_do else []
            if loose:
                raise UsageError(
                    f"step {step.name}: profile {step.plan.profile_name} (executor '{step.plan.executor}') cannot keep"
                    f" a job waiting for step {loose[0]}. Nothing was submitted.",
                    "--run instead of --batch: this command then starts one after the other",
                )

    def detached(self) -> None:
        """Submit everything at once; `record` has asked whether that can be."""
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
                if need.name in lost or self._has_failed_for(step, need.name):
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
        return next((self.ended[step.name] for step in self.graph.steps if self._has_failed(step.name)), 0)

    def _has_failed_for(self, step: Step, need: str) -> bool:
        return bool(self.ended.get(need)) and not (need in step.any_of and need in self.partly)

    def _has_failed(self, name: str) -> bool:
        """Not where all that need it take those points that have completed."""
        behind = [step for step in self.graph.steps if name in step.needs]
        return bool(self.ended.get(name)) and (not behind or any(self._has_failed_for(step, name) for step in behind))

    def _left(self, step: Step) -> list[Step]:
        """What it needs that has not completed, as far as is known here."""
        needs = [need for need in self.graph.steps if need.name in step.needs]  # in the order in which plans have them
        return [need for need in needs if need.state != FINISHED and not self._is_done_for(step, need.name)]

    def _is_done_for(self, step: Step, name: str) -> bool:
        return name in self.ended and not self._has_failed_for(step, name)

    def _holds(self, step: Step, need: Step) -> bool:
        return pipelining.holds(step, need, pipelining.environ_of(self.maker))

    def _anew(self, step: Step) -> Step:
        """The step with what is there now.

        Raises:
            PlanRefused: a check finds an error in that.
        """
        step = pipelining.again(self.maker, self.graph, step.name)
        if step.errors and not self.force:
            raise _refuse(step.name, step.errors)
        return step

    def _start(self, step: Step) -> None:
        folder = self.maker.workspace.records
        if step.state == FINISHED:
            kind = "sweep" if step.sweep else "run"
            self.say(f"step {step.name}: {kind} {step.called} is finished")
            return
        needs = [need for need in self.graph.steps if need.name in step.needs]
        if step.sweep is not None:
            step = pipeline_ends.noting(step, needs, self._left(step))
            assert step.sweep is not None
            self._start_points(step, step.sweep)
            return
        other = _submitted(folder, step.job_id) if step.job_id is not None else None
        if other is not None:
            self.jobs[step.name] = [other]
            self.say(f"step {step.name}: {step.job_id} is {step.state} already")
            return
        environ = pipelining.environ_of(self.maker)
        after = self._after(step)
        plan = pipeline_ends.noting(step, needs, self._left(step)).plan
        if after or plan.after:  # as it is shown, with how those jobs are found; or they have completed meanwhile
            plan = planning.with_job_id(replace(plan, after=tuple(after)), plan.job_id, environ)
        try:
            _, record = submit(plan, self.maker.workspace, environ, self.interrupts, self.say)
        except LaunchError as error:
            error.message = f"step {step.name}: {error.message}"
            raise
        self.jobs[step.name] = [record]
        self.mine.add(step.name)
        self.say(f"step {step.name}: submitted {record.job_id} to {record.profile}{_behind(after)}")

    def _after(self, step: Step) -> list[dict[str, Any]]:
        """The runs that the step waits for, as its jobs are found."""
        found = []
        for need in self._left(step):
            more = {contract.ANY_END: True} if need.name in step.any_of else {}
            with ThreadPoolExecutor(AT_ONCE) as pool:
                found += [{**run, **more} for run in pool.map(waiting.run_of, self.jobs[need.name])]
        return found

    def _start_points(self, step: Step, made: PlanSet) -> None:
        after = self._after(step)
        points = pipeline_points.Points(self.maker, step, made, self.interrupts, self.say, self.follow)
        try:
            if executors.together(step.plan.executor) is None:
                self.ended[step.name], completed = points.one_by_one()
                self.stopped = bool(self.interrupts.received)
                self.jobs[step.name] = points.jobs()
            else:
                submitted = points.submit(after)
                self.jobs[step.name] = points.jobs()
                completed = 0
                left = f"; {len(step.points)} finished, in the queue or running" if step.points else ""
                words = f"{submitted} of {len(made.points)} points of {made.name}"
                self.say(f"step {step.name}: submitted {words} to {step.plan.profile_name}{_behind(after)}{left}")
        except LaunchError as error:
            error.message = f"step {step.name}: {error.message}"
            raise
        self.mine.add(step.name)
        if completed and self.ended.get(step.name):
            self.partly.add(step.name)

    def _followed(self, name: str) -> int:
        if name in self.ended or name not in self.jobs:
            return self.ended.get(name, 0)
        sweep = self._sweep(name)
        if sweep is not None:
            over, code, completed = self.follow_sweep(name, sweep, self.interrupts)
            self.partly |= {name} if completed and code else set()
        else:
            status, code = self.follow(name, self.jobs[name][0], name in self.mine, self.interrupts)
            over = status.over
        self.ended[name] = code
        self.stopped = bool(self.interrupts.received) or not over
        return code

    def _sweep(self, name: str) -> Sweep | None:
        made = self.graph.step(name).sweep
        return sweeps.exact(self.maker.workspace.records, made.name) if made else None

    def document(self) -> list[dict[str, object]]:
        """A row a step: its job, or its sweep with the jobs of that, and how it ended where it was followed."""
        return [self._row(step) for step in self.graph.steps]

    def _row(self, step: Step) -> dict[str, object]:
        jobs = self.jobs.get(step.name, [])
        ended = {"state": step.state or None, "exit_code": self.ended.get(step.name)}
        if step.sweep is not None:
            rows = [{"job_id": record.job_id, "slurm_id": record.handle.get("slurm_id")} for record in jobs]
            return {"name": step.name, "sweep": step.sweep.name, "jobs": rows, **ended}
        own = {"job_id": jobs[0].job_id, "slurm_id": jobs[0].handle.get("slurm_id")} if jobs else {}
        return {"name": step.name, "run_name": step.plan.run_name, "job_id": None, "slurm_id": None, **own, **ended}


def _behind(after: Sequence[Mapping[str, Any]]) -> str:
    names = [str(run["job_id"]) for run in after]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f", behind {', '.join(names[:3])}{more}" if names else ""


def record(runner: Runner, again: str) -> None:
    """For `status`, `attach` and `cancel`: before anything is submitted, so that a launcher that dies loses nothing.

    Raises:
        UsageError, PlanRefused: nothing will be: see `refuse_detached`, or NeMo-Run cannot be imported. Then the last
            launch is told of as before.
        RecordError: it cannot be written.
    """
    if runner.maker.mode == "batch":
        runner.refuse_detached()
    graph, steps = runner.graph, list[pipelines.PipelineStep]()
    for executor in sorted({step.plan.executor for step in graph.steps if step.to_do}):
        executors.get(executor).ready()
    for step in graph.steps:
        run, sweep = (None, step.called) if step.sweep else (step.called, None)
        steps.append(pipelines.PipelineStep(step.name, step.needs, run, sweep, step.any_of))
    made = pipelines.Pipeline(graph.name, tuple(steps), graph.plan_hash, time.time(), again)
    pipelines.save(runner.maker.workspace.records, made)
