"""PlanSet: a sweep as a value. One launch with several values, so several Plans, each an ordinary run of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from automodel_launch.plan.plan import Plan


@dataclass(frozen=True)
class Point:
    """One point. `settings`: what it sets, a key -> the value as it was written; `name`: where the file gives one."""

    settings: tuple[tuple[str, str], ...]
    plan: Plan
    name: str | None = None

    @property
    def label(self) -> str:
        """Its name, else its run's."""
        return self.name or self.plan.run_name

    def document(self) -> dict[str, Any]:
        """As JSON data: its plan is what a launch of it alone would show."""
        return {"name": self.label, "settings": dict(self.settings), "plan": self.plan.document()}


def named(labels: Sequence[str]) -> str:
    """Points in a message: three of them, and how many more."""
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


@dataclass(frozen=True)
class PlanSet:
    """What will be submitted. Two with equal `plan_hash` differ in nothing but the ids of jobs.

    Attributes:
        name: the sweep's; it names neither a run nor a job.
        at_most: points that may run at once; None: as many as the place lets.
        stop_after: so many failures keep every further point from beginning.
        directory: of this submission, on the side where the jobs run; "" where points are started one by one.
        script: what is handed to the place for all points together; "" where each is submitted by itself.
        submit: the command that does so, as a line of bash.
    """

    name: str
    points: tuple[Point, ...]
    at_most: int | None = None
    stop_after: int | None = None
    directory: str = ""
    script: str = ""
    submit: str = ""

    @property
    def keys(self) -> list[str]:
        """What differs between the points, in the order in which it was written."""
        return list(dict.fromkeys(key for point in self.points for key, _ in point.settings))

    @property
    def plans(self) -> list[Plan]:
        """The points' plans, in their order."""
        return [point.plan for point in self.points]

    @property
    def plan_hash(self) -> str:
        """Of the points with their hashes, and of what holds for all."""
        rows = [[point.label, dict(point.settings), point.plan.plan_hash] for point in self.points]
        told = json.dumps([self.name, rows, self.at_most, self.stop_after], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    def document(self) -> dict[str, Any]:
        """The set as JSON data, with the keys that `--dry-run --json` promises."""
        return {
            "plan_hash": self.plan_hash,
            "sweep": self.name,
            "at_most": self.at_most,
            "stop_after_failures": self.stop_after,
            "keys": self.keys,
            "directory": self.directory,
            "script": self.script,
            "submit": self.submit,
            "points": [point.document() for point in self.points],
        }
