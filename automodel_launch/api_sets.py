"""Sweeps and pipelines from Python: planned as one value, checked, submitted.

swept = al.sweep("pretrain", {"grid": {"optimizer.lr": [1e-4, 3e-4]}}, config="tiny", profile="dgx", at_most=2)
jobs = swept.submit()

steps = al.pipeline("tiny", profile="dgx")
jobs = steps.submit()["train"]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automodel_launch import api, executors
from automodel_launch import workspace as workspaces
from automodel_launch.config import pipelines, sweeps
from automodel_launch.errors import PlanRefused, UsageError
from automodel_launch.jobs import records
from automodel_launch.jobs import sweeps as recorded
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import (
    closing,
    edges,
    pipeline_running,
    pipelining,
    sweep_beside,
    sweep_checking,
    sweep_submit,
    sweeping,
    unknown_keys,
)
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.plan import recipes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plangraph import PlanGraph
from automodel_launch.plan.planset import PlanSet
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace

Mode = Literal["run", "batch"]


@dataclass(frozen=True)
class Sweep:
    """A sweep that was planned: `plans` is the value, with the points and one hash."""

    plans: PlanSet
    workspace: Workspace = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    offline: bool = False

    @property
    def name(self) -> str:
        """As the commands know it."""
        return self.plans.name

    def check(self) -> list[Finding]:
        """What is wrong with it, errors first; what is wrong with some points names them."""
        skipped, _ = sweep_checking.standing(self.plans, self.workspace, self.offline)
        return sweep_checking.run(self.plans, skipped, self.offline)

    def submit(self, *, force: bool = False) -> list[api.Job]:
        """All points that are neither finished nor in the queue, in one round trip; their jobs.

        Raises:
            PlanRefused: a check found an error, and `force` is not given; nothing was submitted.
            UsageError: its place takes one job at a time.
            ClusterError: the place could not be reached, or refused the jobs.
        """
        plan = self.plans.plans[0]
        if executors.together(plan.executor) is None:
            raise UsageError(
                f"executor '{plan.executor}' takes one job at a time. Nothing was started.",
                "submit(plan) and wait() for each plan of plans.plans",
            )
        _refuse(self.name, [] if force else self.check())
        with sweep_beside.alone(self.plans, self.workspace.records, self.environ, _quiet, self.offline):
            skipped, busy = sweep_checking.standing(self.plans, self.workspace, self.offline)
            made = sweeping.ready(self.plans, self.workspace, skipped, busy)
            if len(skipped) == len(made.points):
                sweep_submit.record_sweep(made, self.workspace)
                return []
            held = Interrupts()
            options: Any = (self.environ, held, _quiet, skipped, busy)
            found = sweep_submit.submit_together(made, self.workspace, *options)
        held.deliver()
        return [api.Job(record, self.workspace) for record in found]

    def jobs(self) -> list[api.Job | None]:
        """The last job of each point, None where there is none."""
        last = {record.run_name: record for record in records.all_records(self.workspace.records)}
        found = [last.get(plan.run_name) for plan in self.plans.plans]
        return [None if record is None else api.Job(record, self.workspace) for record in found]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that was planned: `graph` is the value, with its steps and one hash."""

    graph: PlanGraph
    maker: pipelining.Maker = field(repr=False)

    def check(self) -> dict[str, list[Finding]]:
        """What is wrong with each step that is to do, errors first."""
        return {step.name: list(step.findings) for step in self.graph.steps}

    def submit(self, *, force: bool = False) -> dict[str, list[api.Job]]:
        """What is neither finished nor in the queue; of each step its job, or those of its points.

        With mode="batch" all are in the queue at once, each behind those that it needs; with mode="run" this waits for
        each where its place cannot keep jobs waiting, and returns when all have ended.

        Raises:
            PlanRefused: a check found an error, and `force` is not given; nothing was submitted.
            UsageError: with mode="batch", a place cannot keep a job waiting.
            ClusterError: a place could not be reached, or refused a job.
        """
        _refuse(self.graph.name, [] if force else [one for found in self.check().values() for one in found])
        runner = pipeline_running.Runner(self.maker, self.graph, _quiet, self._follow, self._follow_sweep, force=force)
        pipeline_running.record(runner, "the program that has submitted it goes on")
        if self.maker.mode == "batch":
            runner.detached()
        else:
            runner.attached()
        runner.interrupts.deliver()
        return {name: [api.Job(one, self.maker.workspace) for one in found] for name, found in runner.jobs.items()}

    def _follow(self, name: str, record: Record, own: bool, interrupts: Interrupts) -> tuple[Status, int]:
        end = api.Job(record, self.maker.workspace).wait()
        return end, closing.exit_code(end)

    def _follow_sweep(self, name: str, sweep: recorded.Sweep, interrupts: Interrupts) -> tuple[bool, int, int]:
        found = [one for one in recorded.jobs_of(self.maker.workspace.records, sweep) if one]
        codes = [closing.exit_code(api.Job(one, self.maker.workspace).wait()) for one in found]
        return True, next((code for code in codes if code), 0), codes.count(0)


def sweep(
    recipe: str | os.PathLike[str],
    swept: Mapping[str, Any],
    config: str | os.PathLike[str] | None = None,
    profile: str = "local",
    overrides: api.Overrides = (),
    *,
    name: str | None = None,
    at_most: int | None = None,
    stop_after_failures: int | None = None,
    mode: Mode = "batch",
    offline: bool = False,
    after: str | None = None,
    env_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Sweep:
    """One launch with several values of keys, planned in one go; nothing is written or submitted.

    Args:
        swept: the sections of a sweep's file (docs/sweeps.md): {"grid": {"optimizer.lr": [1e-4, 3e-4]}}.
        at_most: points that may run at once.
        stop_after_failures: so many failures keep every further point from beginning.

    The other arguments are those of `plan`.

    Raises:
        LaunchError: the parts do not fit together.
    """
    environ = os.environ if environ is None else environ
    here = workspaces.find(env_file, environ)
    env = profiles.load(here.env_file, profile)
    found = recipes.find(here, os.fspath(recipe))
    changes = api.parsed(overrides)
    wanted = None if config is None else os.fspath(config)
    specs = [
        (point, unknown_keys.load(found, wanted, [*changes, *api.parsed(settings)]))
        for point in sweeps.points_of(swept, "sweep", [one.key for one in changes])
        for settings in [list(point.settings.values())]
    ]
    waits = edges.named(here, after, offline)
    limits = sweeping.Limits(at_most, stop_after_failures)
    options: dict[str, Any] = {"mode": mode, "name": name, "offline": offline, "environ": environ, "limits": limits}
    made = sweeping.make(here, env, profile, found, specs, **options, after=waits.runs, promised=waits.promised)
    edges.refuse_unheld(made.plans[0])
    skipped, busy = sweep_checking.standing(made, here, offline)
    return Sweep(sweeping.ready(made, here, skipped, busy), here, environ, offline)


def pipeline(
    file: str | os.PathLike[str],
    profile: str = "local",
    overrides: list[str] | tuple[str, ...] = (),
    *,
    mode: Mode = "batch",
    offline: bool = False,
    env_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Pipeline:
    """The steps of a pipeline's file, planned and checked as one; nothing is written or submitted.

    Args:
        file: a name in configs/pipeline/, or the path of a .yaml file.
        profile: that of steps which name none.
        overrides: ["STEP.key=value", ...] as on the command line.
        mode: "batch": all steps are in the queue at once; "run": see Pipeline.submit.

    Raises:
        LaunchError: the parts of a step do not fit together.
    """
    environ = os.environ if environ is None else environ
    here = workspaces.find(env_file, environ)
    path = pipelines.find(here.configs / "pipeline", os.fspath(file))
    maker = pipelining.Maker(here, pipelines.read(path, overrides), profile, mode, offline, environ)
    return Pipeline(maker.all(path), maker)


def _refuse(name: str, found: list[Finding]) -> None:
    errors = [finding for finding in found if finding.level == "error"]
    if errors:
        told = "; ".join(f"[{finding.code}] {finding.message}" for finding in errors)
        raise PlanRefused(f"{name} was not submitted: {told}", errors[0].fix)


def _quiet(text: str) -> None:
    """Nothing is printed."""
