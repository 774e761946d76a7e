"""Profile x Recipe x Configs -> PlanSet: the points of a sweep, planned together and handed over together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automodel_launch import backends, executors
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.sweeps import PointSpec
from automodel_launch.errors import LaunchError, UsageError
from automodel_launch.jobs import records
from automodel_launch.launch import planning
from automodel_launch.launch.origin import Origin
from automodel_launch.launch.shared import Shared
from automodel_launch.plan import naming
from automodel_launch.plan.plan import Mode, Plan
from automodel_launch.plan.planset import PlanSet, Point
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile.profiles import EnvFile
from automodel_launch.workspace import Workspace


@dataclass(frozen=True)
class Limits:
    """What holds for all points together; see PlanSet."""

    at_most: int | None = None
    stop_after: int | None = None


def make(
    workspace: Workspace,
    env_file: EnvFile,
    profile_name: str,
    recipe: Recipe,
    specs: Sequence[tuple[PointSpec, MergedConfig]],
    *,
    limits: Limits,
    mode: Mode = "run",
    name: str | None = None,
    fresh: bool = False,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
    begins_from: Origin | None = None,
    after: Sequence[Mapping[str, Any]] = (),
    promised: Sequence[tuple[str, str, bool]] = (),
    choices: Sequence[Mapping[str, Any]] = (),
) -> PlanSet:
    """Plan every point; what they share is asked and read once. `ready` adds how they are handed over.

    A point's run is named by what it trains, as a launch of it alone would be, so a run that is there already is that
    point's; `name` stands before the hash, or before the point's own name. `after`, `promised`, `choices`: see Plan.

    Raises:
        LaunchError: the parts do not fit together; a point's settings stand in the message.
        UsageError: two points are one run, or the sweep's name is that of a run.
    """
    shared, points = Shared(), []
    options: dict[str, Any] = {"mode": mode, "fresh": fresh, "offline": offline, "environ": environ, "shared": shared}
    options |= {"begins_from": begins_from, "after": after, "promised": promised, "choices": choices}
    for spec, layered in specs:
        own = f"{name}-{spec.name}" if name and spec.name else None
        try:
            plan = planning.make(workspace, env_file, profile_name, recipe, layered, name=own, prefix=name, **options)
        except LaunchError as error:
            if len(specs) > 1 and not error.message.startswith("point "):
                error.message = f"point {told(spec)}: {error.message}"
            raise
        points.append(Point(_values(spec), plan, spec.name))
    _refuse_equal(points)
    _refuse_shared(points)
    names = sorted(point.plan.run_name for point in points)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    called = name or naming.with_digest(f"{recipe.name}-{specs[0][1].name}-sweep", digest)
    naming.check(called)
    _refuse_run(called, workspace)
    return PlanSet(called, tuple(points), limits.at_most, limits.stop_after)


def told(spec: PointSpec) -> str:
    """A point in a message."""
    return spec.name or " ".join(spec.settings.values())


def ready(made: PlanSet, workspace: Workspace, skipped: Iterable[str] = (), after: Sequence[str] = ()) -> PlanSet:
    """The set with the script and the command that hand its points over at once, where their place takes that.

    `skipped`: run names of points that are finished, or in the queue with the ids `after`; they count as running.
    """
    todo = without(made, skipped)
    together = executors.together(made.plans[0].executor)
    if together is None or not todo:
        return made
    plan = todo[0]
    names = plan.place.names(plan.job_root) if plan.visible else []
    directory = f"{plan.job_root}/{naming.next_job_id(made.name, names, workspace.records)}"
    made = replace(made, directory=directory)
    order = order_of(made, after)
    return replace(made, script=together.script(todo, order), submit=together.submit_command(todo, order))


def order_of(made: PlanSet, after: Sequence[str] = ()) -> executors.Order:
    """How the set's points are handed over; `after` are the ids of those that run already."""
    return executors.Order(made.name, made.directory, made.at_most, tuple(after), made.stop_after)


def without(made: PlanSet, skipped: Iterable[str]) -> list[Plan]:
    """The plans of the points that are to be submitted."""
    left_out = set(skipped)
    return [plan for plan in made.plans if plan.run_name not in left_out]


def _values(spec: PointSpec) -> tuple[tuple[str, str], ...]:
    return tuple((key, text.partition("=")[2]) for key, text in spec.settings.items())


def _refuse_equal(points: list[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        other = seen.setdefault(point.plan.run_name, point)
        if other is not point:
            first, second = (" ".join(f"{key}={value}" for key, value in p.settings) for p in (other, point))
            raise UsageError(
                f"two points are one run, {point.plan.run_name}: {first}; and {second}. A run is what is trained, not"
                " for how long, nor how often it saves, nor on which profile.",
                "leave one out; or --name with named points of --sweep-file makes a run of each (docs/sweeps.md)",
            )


def _refuse_shared(points: list[Point]) -> None:
    """A run goes on with the checkpoints that it finds, whosever they are."""
    seen: dict[str, Point] = {}
    for point in points:
        plan = point.plan
        directory = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
        other = seen.setdefault(directory, point) if directory else point
        if other is not point:
            message = f"points {other.plan.run_name} and {plan.run_name} save their checkpoints in one directory,"
            raise UsageError(
                f"{message} {directory}: the second would go on with those of the first.",
                "a directory below ${run.dir}, which is each run's own; or sweep the directory, too",
            )


def _refuse_run(name: str, workspace: Workspace) -> None:
    if any(record.run_name == name for record in records.all_records(workspace.records)):
        raise UsageError(f"--name {name}: a run has this name.", f"--name {name}-sweep")
