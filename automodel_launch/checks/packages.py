"""Packages that a config or its framework needs, looked for in a job's Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from automodel_launch import backends
from automodel_launch.backends import Need, trackers, user_code
from automodel_launch.plan.describe import source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# A line of `python -c`, with names as its arguments: nothing is imported.
FIND = "import importlib.util, sys; print('lacks', *[n for n in sys.argv[1:] if not importlib.util.find_spec(n)])"


def needed(plan: Plan) -> list[Need]:
    """What the config asks for, without what travels with the job."""
    if user_code.sets_path(plan):
        return []
    travelling = [file.path for file in plan.files]

    def travels(name: str) -> bool:
        beside = tuple(f"code/{folder}{name}{end}" for folder in ("", "recipes/") for end in ("/", ".py"))
        return any(path.startswith(beside) for path in travelling)

    wanted = [*backends.of(plan.recipe).packages(plan.config), *_of_profile(plan), *user_code.needs(plan)]
    return [need for need in wanted if not travels(need.module)]


def _of_profile(plan: Plan) -> Iterator[Need]:
    for each in plan.profile.track:
        name = trackers.PACKAGES[each.partition(":")[0]]
        yield Need(name, trackers.TRACK, name)


def lacking(plan: Plan, said: str) -> list[Need]:
    """Those that FIND's output names."""
    names = {name for line in said.splitlines() if line.startswith("lacks") for name in line.split()[1:]}
    return [need for need in needed(plan) if need.module in names]


def findings(plan: Plan, lacked: list[Need], where: str, level: Literal["error", "warning"]) -> Iterator[Finding]:
    """`where`: behind the Python's name, as ` on the login node`."""
    python = plan.agent["python"]
    for need in lacked:
        of_profile = need.key == trackers.TRACK
        written = plan.source(need.key) if of_profile else source(plan, need.key)
        message = f"{need.key} ({written}) needs the package {need.distribution or need.module},"
        message += f" and {python}{where} has none."
        without = f"run.env.{need.key}=[]" if of_profile else f"~{need.key}"
        fix = f"{python} -m pip install {need.distribution}, or {without}" if need.distribution else None
        how = "warning" if of_profile else level  # the training goes on without a tracker of the profile's
        yield Finding(how, "missing-package", message, fix or f"install what provides {need.module} there")
