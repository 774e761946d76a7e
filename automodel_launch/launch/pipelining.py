"""A pipeline's file -> PlanGraph: every step is planned and checked before anything runs.

A step's inputs may be what another one makes: their paths are known beforehand, and are not looked for before they are
there. So a step's plan, its hash and its run's name are the same before and after the steps that it needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from automodel_launch import backends
from automodel_launch.config import pipelines, swept_steps
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.config.pipelines import StepSpec
from automodel_launch.errors import ConfigError, LaunchError
from automodel_launch.jobs import launcher, records, sweeps
from automodel_launch.launch import (
    checking,
    edges,
    pipeline_ends,
    pipeline_sweeps,
    planning,
    sweep_checking,
    sweep_rehearsal,
    sweeping,
    unknown_keys,
    waiting,
)
from automodel_launch.launch.edges import Promise
from automodel_launch.launch.submit import record_of
from automodel_launch.plan import naming, recipes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Mode, Plan
from automodel_launch.plan.plangraph import FINISHED, PlanGraph, Step
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace


@dataclass(frozen=True)
class Maker:
    """Plans the steps of a pipeline, one after the other. `profile` is that of steps that name none."""

    workspace: Workspace
    specs: Sequence[StepSpec]
    profile: str
    mode: Mode = "run"
    offline: bool = False
    environ: Mapping[str, str] | None = None

    def all(self, path: Path) -> PlanGraph:
        """Every step, with its state and its findings.

        Raises:
            LaunchError: the parts of a step do not fit together; its name stands in the message.
        """
        if path.stem in naming.RESERVED:
            message = f"{path}: `{path.stem}` already stands for jobs wherever a pipeline is named (status, cancel)."
            raise ConfigError(message, f"another name for the file: {path.stem}-1{path.suffix}")
        done: list[Step] = []
        for spec in self.specs:
            done.append(self.one(spec, done))
        self._refuse_equal(done)
        return PlanGraph(path.stem, tuple(done))

    def one(self, spec: StepSpec, before: Sequence[Step]) -> Step:
        """One step behind those that it may need."""
        try:
            step = self._planned(spec, before)
            state, job_id, points = self._standing(step, before)
            step = replace(step, state=state, job_id=job_id, points=points)
            left = [need for need in before if need.name in step.needs and need.state != FINISHED]
            findings = () if state else tuple(self._checked(step, bool(left)))
            if left and not state and all(holds(step, need, environ_of(self)) for need in left):
                runs = tuple(run for need in left for run in _runs(need))
                step = pipeline_sweeps.behind(step, runs, self._behind)
            if step.sweep and not state:
                step = replace(step, sweep=sweeping.ready(step.sweep, self.workspace, points))
        except LaunchError as error:
            if not error.message.startswith(spec.where):
                error.message = f"step {spec.name}: {error.message}"
            raise
        step = replace(step, findings=findings)
        return replace(step, findings=(*step.findings, *_told(step)))

    def _behind(self, plan: Plan, runs: tuple[dict[str, Any], ...]) -> Plan:
        return planning.with_job_id(replace(plan, after=runs), plan.job_id, environ_of(self))

    def _checked(self, step: Step, waits: bool) -> list[Finding]:
        if step.sweep is None:
            return checking.run(step.plan, self.offline, self.environ)
        return sweep_checking.run(step.sweep, step.points, self.offline, waits)

    def _planned(self, spec: StepSpec, before: Sequence[Step]) -> Step:
        named = spec.profile or self.profile
        env_file = profiles.load(self.workspace.env_file, named)
        recipe = recipes.find(self.workspace, spec.recipe)
        needed = _all_needed(spec.needs, before)
        promises = {step.name: step.promises for step in before}
        options: dict[str, Any] = {"mode": self.mode, "offline": self.offline, "environ": self.environ}
        taken = [found for point in pipelines.points(spec) for one in point.overrides for found in _taken(one.value)]
        options["promised"] = [made for step in needed for made in _makes(step)]
        swept = [(step, one.sweep) for step in needed for one in self.specs if one.name == step.name and one.sweep]
        options["choices"] = pipeline_sweeps.choices(spec, swept, taken)

        def layered(overrides: list[Override]) -> MergedConfig:
            found = unknown_keys.load(recipe, spec.config, overrides)
            found.sources.update({key: where for key, where in spec.lines.items() if key in found.sources})
            return found

        where, made = (self.workspace, env_file, named, recipe), None
        if spec.sweep is not None:
            made = pipeline_sweeps.make(spec, promises, layered, where, options)
            plan, own = made.plans[0], pipeline_sweeps.promised(made, spec.sweep)
        else:
            sweeps.refuse_run(self.workspace.records, spec.run_name)
            plan = planning.make(*where, layered(pipelines.filled(spec, promises)), name=spec.run_name, **options)
            own = {**backends.of(plan.recipe).promises(plan), "run_dir": plan.run_dir, "run_name": plan.run_name}
        for step in needed:
            if step.name in {name for name, _ in taken} and step.plan.place != plan.place:
                raise ConfigError(
                    f"{spec.where}: it takes what step {step.name} makes on another machine (profiles {named} and"
                    f" {step.plan.profile_name}).",
                    "profiles of one cluster, reached in one way",
                )
        digest = (made or plan).plan_hash
        return Step(spec.name, plan, digest, spec.needs, own, any_of=spec.any_of, sweep=made)

    def _standing(self, step: Step, before: Sequence[Step]) -> tuple[str, str | None, dict[str, str]]:
        """FINISHED, or the state of the run's job that waits or runs; "" where it is to be submitted. Of a sweep also
        the points that need no submission."""
        if step.sweep is None:
            state, job_id, busy = self._look(step, before)
            return state if busy or state == FINISHED else "", job_id if busy else None, {}
        behind = [spec for spec in self.specs if step.name in spec.needs]
        tolerated = bool(behind) and all(step.name in spec.any_of for spec in behind)
        state, points = pipeline_sweeps.standing(step, lambda point: self._look(point, before), tolerated)
        return state, None, points

    def _look(self, step: Step, before: Sequence[Step]) -> tuple[str, str | None, bool]:
        """Of one run: its state, its last job, and whether that is busy."""
        plan = step.plan
        asks = plan.here or plan.visible or not self.offline
        if asks and self._has_finished(step, before):
            return FINISHED, None, False
        known = [r for r in records.all_records(self.workspace.records) if r.run_dir == plan.run_dir]
        if not known or not asks:
            return "", None, False
        record, now = waiting.look_at(self.workspace.records, known[-1])
        busy = launcher.is_at_it(record) or now.underway
        same = busy or record.max_steps == backends.of(plan.recipe).max_steps(plan.config)  # one of a shorter run
        return now.state if same else "", record.job_id, busy

    def is_finished(self, step: Step, before: Sequence[Step]) -> bool:
        """Whether there is nothing to do for it; `before`: the steps that it may need, with their states."""
        return self._standing(step, before)[0] == FINISHED

    def _has_finished(self, step: Step, before: Sequence[Step]) -> bool:
        overrides = (one for spec in self.specs for point in pipelines.points(spec) for one in point.overrides)
        taken = {wanted for one in overrides for name, wanted in _taken(one.value) if name == step.name}
        taken = {wanted.removeprefix(f"{swept_steps.BEST}.") for wanted in taken}
        return pipeline_ends.is_finished(step, [other for other in before if other.name in step.needs], taken)

    def _refuse_equal(self, steps: Sequence[Step]) -> None:
        swept = {step.called: step for step in steps if step.sweep}
        for step in steps:
            if step.sweep is None and step.called in swept:
                names = f"{swept[step.called].name} and {step.name}"
                message = f"steps {names}: a sweep and a run have one name, {step.called}."
                raise ConfigError(message, "give one of them another `name`")
        seen: dict[str, Step] = {}
        for step in steps:
            other = next((seen[plan.run_dir] for plan in step.plans if plan.run_dir in seen), step)
            seen |= {plan.run_dir: step for plan in step.plans}
            if other is not step:
                raise ConfigError(
                    f"steps {other.name} and {step.name} are one run, {step.plan.run_name}: they do the same.",
                    "leave one out, or give one a `name` of its own",
                )


def _taken(value: Any) -> list[tuple[str, str]]:
    """(step, field) of each reference in a value."""
    return [found for text in pipelines.texts(value) for found in pipelines.REFERENCE.findall(text)]


def _all_needed(needs: Sequence[str], before: Sequence[Step]) -> list[Step]:
    """The steps that are needed, and those that these need."""
    names = set(needs)
    for step in reversed(before):
        names |= set(step.needs) if step.name in names else set()
    return [step for step in before if step.name in names]


def _makes(step: Step) -> list[Promise]:
    who, done = f"step {step.name}", step.state == FINISHED
    made = done and (step.sweep is None or pipeline_sweeps.is_chosen(step))
    found: dict[str, Promise] = {path: (path, who, made) for path in step.promises.values() if path.startswith("/")}
    for plan in step.plans:
        for one in backends.of(plan.recipe).references(plan.config):
            if one.kind == "output" and str(one.value).startswith("/"):
                found.setdefault(str(one.value), (str(one.value), who, done))
    return list(found.values())


def _runs(need: Step) -> list[dict[str, Any]]:
    """The runs of a step that have not completed."""
    left = [plan for plan in need.plans if not need.has_ended(plan.run_name)]
    return [{"run_name": plan.run_name, "run_dir": plan.run_dir} for plan in left]


def _told(step: Step) -> list[Finding]:
    """What is not looked at because another step makes it."""
    makers = dict.fromkeys(who for _, who, done in step.plan.promised if not done)
    text = f"the outputs of {', '.join(makers)} are not checked before they are there."
    return [Finding("note", "made-before", text)] if makers and step.to_do else []


def again(maker: Maker, graph: PlanGraph, name: str) -> Step:
    """A step planned and checked anew, with what the steps before it have made by now."""
    before: list[Step] = []
    for step in graph.steps:
        if step.name == name:
            break
        before.append(replace(step, state=FINISHED) if maker.is_finished(step, before) else step)
    return maker.one(next(spec for spec in maker.specs if spec.name == name), before)


def holds(step: Step, need: Step, environ: Mapping[str, str]) -> bool:
    """Whether the place of a step can keep its job waiting for a step that it needs."""
    return edges.can_follow(step.plan, record_of(need.plan, environ), environ)


def rehearsed(graph: PlanGraph, folder: Path, offline: bool, say: Callable[[str], None]) -> PlanGraph:
    """The graph with what a rehearsal finds of each step that is to do, and whose inputs are there."""
    steps = []
    for step in graph.steps:
        found = list(step.findings)
        if step.to_do:
            how: dict[str, Any] = {"submits": True, "offline": offline, "say": say}
            found += _rehearsed(step, found, folder, how)
        steps.append(replace(step, findings=tuple(checking.in_order(found))))
    return replace(graph, steps=tuple(steps))


def _rehearsed(step: Step, found: list[Finding], folder: Path, how: dict[str, Any]) -> list[Finding]:
    if step.sweep is None:
        return checking.rehearse(step.plan, found, folder, None, **how).findings
    points = [point for point in step.sweep.points if point.plan.run_name not in step.points]
    return sweep_rehearsal.rehearse(points, found, folder, None, **how)


def environ_of(maker: Maker) -> Mapping[str, str]:
    """The variables that its jobs are submitted with."""
    return os.environ if maker.environ is None else maker.environ
