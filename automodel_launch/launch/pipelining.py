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

from automodel_launch import backends, contract
from automodel_launch.config import configs, pipelines
from automodel_launch.config.pipelines import StepSpec
from automodel_launch.errors import ConfigError, LaunchError
from automodel_launch.jobs import history, launcher, records, rundir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import checking, edges, identity, planning, waiting
from automodel_launch.launch.edges import Promise
from automodel_launch.launch.submit import record_of
from automodel_launch.plan import recipes
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
        done: list[Step] = []
        for spec in self.specs:
            done.append(self.one(spec, done))
        self._refuse_equal(done)
        return PlanGraph(path.stem, tuple(done))

    def one(self, spec: StepSpec, before: Sequence[Step]) -> Step:
        """One step behind those that it may need."""
        try:
            plan = self._plan(spec, before)
            own = {**backends.of(plan.recipe).promises(plan), "run_dir": plan.run_dir, "run_name": plan.run_name}
            step = Step(spec.name, plan, plan.plan_hash, spec.needs, own)
            state, record = self._standing(step, before)
            findings = () if state else tuple(checking.run(plan, self.offline, self.environ))
            left = [need for need in before if need.name in step.needs and need.state != FINISHED]
            if left and not state and all(holds(step, need, environ_of(self)) for need in left):
                runs = tuple({"run_name": need.plan.run_name, "run_dir": need.plan.run_dir} for need in left)
                plan = planning.with_job_id(replace(plan, after=runs), plan.job_id, environ_of(self))
        except LaunchError as error:
            if not error.message.startswith(spec.where):
                error.message = f"step {spec.name}: {error.message}"
            raise
        step = replace(step, plan=plan, state=state, job_id=record.job_id if record else None, findings=findings)
        return replace(step, findings=(*step.findings, *_told(step)))

    def _plan(self, spec: StepSpec, before: Sequence[Step]) -> Plan:
        named = spec.profile or self.profile
        env_file = profiles.load(self.workspace.env_file, named)
        recipe = recipes.find(self.workspace, spec.recipe)
        needed = _all_needed(spec.needs, before)
        overrides = pipelines.filled(spec, {step.name: step.promises for step in before})
        layered = configs.load(recipe, spec.config, overrides)
        layered.sources.update({key: where for key, where in spec.lines.items() if key in layered.sources})
        options: dict[str, Any] = {"mode": self.mode, "name": spec.run_name, "offline": self.offline}
        options |= {"environ": self.environ, "promised": [made for step in needed for made in _makes(step)]}
        plan = planning.make(self.workspace, env_file, named, recipe, layered, **options)
        for step in needed:
            used = step.name in {name for one in spec.overrides for name, _ in _taken(one.value)}
            if used and step.plan.place != plan.place:
                raise ConfigError(
                    f"{spec.where}: it takes what step {step.name} makes on another machine (profiles {named} and"
                    f" {step.plan.profile_name}).",
                    "profiles of one cluster, reached in one way",
                )
        return plan

    def _standing(self, step: Step, before: Sequence[Step]) -> tuple[str, Record | None]:
        """FINISHED, or the state of the run's job that waits or runs; "" where it is to be submitted."""
        plan = step.plan
        asks = plan.here or plan.visible or not self.offline
        if asks and self.is_finished(step, before):
            return FINISHED, None
        known = [r for r in records.all_records(self.workspace.records) if r.run_dir == plan.run_dir]
        if not known or not asks:
            return "", None
        record, now = waiting.look_at(self.workspace.records, known[-1])
        busy = launcher.is_at_it(record) or now.underway
        return (now.state, record) if busy else ("", None)

    def is_finished(self, step: Step, before: Sequence[Step]) -> bool:
        """Whether there is nothing to do for it; `before`: the steps that it may need, with their states."""
        values = (one.value for spec in self.specs for one in spec.overrides)
        taken = {wanted for value in values for name, wanted in _taken(value) if name == step.name}
        return _is_finished(step, [other for other in before if other.name in step.needs], taken)

    def _refuse_equal(self, steps: Sequence[Step]) -> None:
        seen: dict[str, Step] = {}
        for step in steps:
            other = seen.setdefault(step.plan.run_dir, step)
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
    plan, who, done = step.plan, f"step {step.name}", step.state == FINISHED
    outputs = [str(one.value) for one in backends.of(plan.recipe).references(plan.config) if one.kind == "output"]
    paths = [path for path in (*step.promises.values(), *outputs) if path.startswith("/")]
    return [(path, who, done) for path in dict.fromkeys(paths)]


def _is_finished(step: Step, needs: Sequence[Step], taken: set[str]) -> bool:
    """Whether the run of a step has reached its end with these very settings, after what it needs has, and what it
    promises is there: what others take of it, `taken`, and what its kind of run leaves."""
    plan = step.plan
    wanted = backends.of(plan.recipe).max_steps(plan.config)
    ended = _ended(plan)
    told = rundir.finished(plan.run_dir, plan.place)
    if wanted is not None and ((told or {}).get("step") or -1) < wanted:
        return False
    without = {contract.HF} - taken if told and not told.get(contract.HF) else set()  # it has exported nothing
    made = [path for name, path in step.promises.items() if name not in without]
    if ended is None or identity.began_otherwise(plan) or not _are_there(made, plan):
        return False
    return all(need.state == FINISHED and (_ended(need.plan) or 0.0) <= ended for need in needs)


def _ended(plan: Plan) -> float | None:
    """When the last attempt at the run has ended, if it has completed (unix seconds)."""
    rows = [row for row in history.attempts(plan.run_dir, plan.place) if row.get("state")]
    if not rows or not history.completes(rows[-1]):
        return None
    return rows[-1].get("ended") or 0.0


def _are_there(paths: Sequence[str], plan: Plan) -> bool:
    """Also of a glob, whose folder has to be there."""
    for path in {path.partition("*")[0].rstrip("/") for path in paths if path.startswith("/")}:
        folder, _, name = path.rpartition("/")
        if name not in plan.place.names(folder or "/"):
            return False
    return True


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
            found += checking.rehearse(step.plan, found, folder, None, **how).findings
        steps.append(replace(step, findings=tuple(checking.in_order(found))))
    return replace(graph, steps=tuple(steps))


def environ_of(maker: Maker) -> Mapping[str, str]:
    """The variables that its jobs are submitted with."""
    return os.environ if maker.environ is None else maker.environ
