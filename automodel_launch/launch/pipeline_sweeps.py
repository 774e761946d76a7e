"""A step of a pipeline that is a sweep: its points, how they stand, and a path of the best one, known beforehand.

The path is a link in the sweep's directory, JOB_ROOT/SWEEP/best-HASH: a job that takes it makes it when it begins
(recipes/node_agent_lib/choosing.py), so that the plan is the same before and after.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.config import pipelines
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.config.pipelines import StepSpec
from automodel_launch.config.sweeps import PointSpec
from automodel_launch.config.swept_steps import BEST, Swept
from automodel_launch.errors import ConfigError
from automodel_launch.launch import sweeping
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.plangraph import FINISHED, Step
from automodel_launch.plan.planset import PlanSet
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile.profiles import EnvFile
from automodel_launch.remote.shell import AT_ONCE
from automodel_launch.report.ranking import HIGHEST
from automodel_launch.workspace import Workspace

_TRIED = (contract.FAILED, contract.TIMEOUT, contract.OUT_OF_MEMORY)
Layered = Callable[[list[Override]], MergedConfig]
Look = Callable[[Step], tuple[str, str | None, bool]]  # of a point as a step: its state, its job, whether it is busy


def make(
    spec: StepSpec,
    promises: Mapping[str, Mapping[str, str]],
    layered: Layered,
    where: tuple[Workspace, EnvFile, str, Recipe],
    options: dict[str, Any],
) -> PlanSet:
    """All points of a step; `where` and `options` are those of sweeping.make that do not change with the step.

    Raises:
        LaunchError: see there.
    """
    assert spec.sweep is not None  # who calls has asked
    specs = []
    for point, own in zip(spec.sweep.points, pipelines.points(spec), strict=True):
        overrides = pipelines.filled(own, promises)
        set_here = {one.key: one.text for one in overrides if one.key in point.settings}
        specs.append((PointSpec(set_here, point.name), layered(overrides)))
    limits = sweeping.Limits(spec.sweep.at_most, spec.sweep.stop_after)
    return sweeping.make(*where, specs, limits=limits, name=spec.run_name, **options)


def promised(made: PlanSet, swept: Swept) -> dict[str, str]:
    """What the best point leaves: its run's directory, and what lies in there, by way of the link."""
    link, plan = _link(made, swept), made.plans[0]
    found = {**backends.of(plan.recipe).promises(plan), "run_dir": plan.run_dir}
    inside = {name: path for name, path in found.items() if f"{path}/".startswith(f"{plan.run_dir}/")}
    return {f"{BEST}.{name}": f"{link}{path[len(plan.run_dir) :]}" for name, path in inside.items()}


def _link(made: PlanSet, swept: Swept) -> str:
    names = sorted(plan.run_name for plan in made.plans)
    digest = hashlib.sha256(json.dumps([names, swept.metric, _is_highest(swept)]).encode()).hexdigest()
    return f"{made.plans[0].job_root}/{made.name}/{BEST}-{digest[:8]}"


def _is_highest(swept: Swept) -> bool:
    return bool(HIGHEST.search(swept.metric or "")) if swept.highest is None else swept.highest


def choices(
    spec: StepSpec, steps: Sequence[tuple[Step, Swept]], taken: Iterable[tuple[str, str]]
) -> list[dict[str, Any]]:
    """What a step chooses when it begins: `taken` are the steps and fields that it refers to, `steps` the sweeps.

    Raises:
        ConfigError: the points of one lie in several directories.
    """
    wanted, found = {name for name, _ in taken}, []
    for step, swept in steps:
        made = step.sweep
        if made is None or not (step.name in wanted or step.name in spec.any_of):
            continue
        if len({plan.job_root for plan in made.plans}) > 1:
            message = f"{spec.where}: the points of step {step.name} lie in several job roots, so none is the best."
            raise ConfigError(message, "one remote_job_dir for all points")
        runs = [{"run_name": plan.run_name, "run_dir": plan.run_dir} for plan in made.plans]
        link = _link(made, swept) if step.name in wanted else None
        row = (made.name, link, swept.metric, _is_highest(swept), step.name not in spec.any_of, runs)
        found.append(dict(zip(contract.CHOICE_KEYS, row, strict=True)))
    return found


def is_chosen(step: Step) -> bool:
    """Whether the link is there."""
    folder, _, name = step.promises[f"{BEST}.run_dir"].rpartition("/")
    return name in step.plan.place.names(folder)


def as_steps(step: Step) -> list[Step]:
    """Each point as a step of its own."""
    found = []
    for plan in step.plans:
        own = {**backends.of(plan.recipe).promises(plan), "run_dir": plan.run_dir, "run_name": plan.run_name}
        found.append(replace(step, plan=plan, sweep=None, promises=own))
    return found


def standing(step: Step, look: Look, tolerated: bool) -> tuple[str, dict[str, str]]:
    """The step's state, and those of points that are not to be submitted.

    `tolerated`: all that need it take those points that have completed; what has failed is not tried again then.
    """
    steps = as_steps(step)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(look, steps))
    done = {one.plan.run_name: state for one, (state, _, busy) in zip(steps, looked, strict=True) if _is(state, busy)}
    if tolerated and done:  # some have completed, or may do so
        ended = {one.plan.run_name: state for one, (state, _, busy) in zip(steps, looked, strict=True) if not busy}
        failed = {name: state for name, state in ended.items() if state in _TRIED}
        stop = step.sweep.stop_after if step.sweep else None
        if stop is not None and len(failed) >= stop:
            failed |= {name: state for name, state in ended.items() if state == contract.CANCELLED}
        done |= failed
    if len(done) < len(steps):
        return "", done
    busy_ones = [state for state, _, busy in looked if busy]
    return next((state for state in busy_ones if state == contract.RUNNING), (*busy_ones, FINISHED)[0]), done


def _is(state: str, busy: bool) -> bool:
    return busy or state == FINISHED


def behind(step: Step, after: Sequence[Mapping[str, Any]], with_after: Callable[[Plan, Any], Plan]) -> Step:
    """The step with plans that wait for these runs."""
    if step.sweep is None:
        return replace(step, plan=with_after(step.plan, after))
    points = tuple(replace(point, plan=with_after(point.plan, after)) for point in step.sweep.points)
    return replace(step, plan=points[0].plan, sweep=replace(step.sweep, points=points))
