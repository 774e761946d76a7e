"""PlanGraph: a pipeline as a value. Steps, each with a Plan, what it needs of others and what it promises them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.planset import PlanSet

FINISHED = "FINISHED"  # `state` of a step that is not started again


@dataclass(frozen=True)
class Step:
    """One step. `state`: of its run's last job, FINISHED, or "" where there is none that waits or runs.

    `digest` is the hash of its plan as a launch of it alone; `plan` says besides whether it is submitted held. A step
    that is a sweep has its points in `sweep`, the first one's plan in `plan`, and in `points` the states of those that
    are not to be submitted; it has failed points in there, too, where all that need it take those that have completed.
    `any_of`: sweeps that it needs of which one point that has completed will do.
    """

    name: str
    plan: Plan
    digest: str
    needs: tuple[str, ...] = ()
    promises: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    job_id: str | None = None  # of the job that waits or runs
    findings: tuple[Finding, ...] = ()
    any_of: tuple[str, ...] = ()
    sweep: PlanSet | None = None
    points: Mapping[str, str] = field(default_factory=dict)  # run name -> state

    @property
    def plans(self) -> list[Plan]:
        """Those of its points, else its own."""
        return self.sweep.plans if self.sweep else [self.plan]

    def has_ended(self, run_name: str) -> bool:
        """Whether a point of the sweep is over before anything is submitted; see `points`."""
        return self.points.get(run_name) in (FINISHED, *contract.ENDED_FOR_GOOD)

    @property
    def called(self) -> str:
        """Its sweep's name, else its run's."""
        return self.sweep.name if self.sweep else self.plan.run_name

    def told(self, need: str) -> str:
        """A step that it needs, in words."""
        return f"any of {need}" if need in self.any_of else need

    @property
    def to_do(self) -> bool:
        """It is neither finished nor in the queue."""
        return not self.state

    @property
    def errors(self) -> list[Finding]:
        """What would refuse it."""
        return [finding for finding in self.findings if finding.level == "error"]

    def document(self) -> dict[str, Any]:
        """As JSON data: its plan is what a launch of it alone would show."""
        return {
            "name": self.name,
            "needs": list(self.needs),
            **({"any_of": list(self.any_of)} if self.any_of else {}),
            "promises": dict(self.promises),
            "state": self.state or None,
            "job_id": self.job_id,
            **self._planned(),
            "findings": [finding.document() for finding in self.findings],
        }

    def _planned(self) -> dict[str, Any]:
        if self.sweep is None:
            return {"plan": self.plan.document()}
        return {"plan": None, "sweep": {**self.sweep.document(), "left_out": dict(self.points)}}


@dataclass(frozen=True)
class PlanGraph:
    """What will be submitted, in an order in which each step stands behind those that it needs.

    Two with equal `plan_hash` differ in nothing but what of them is done, and the ids of jobs.
    """

    name: str
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def plan_hash(self) -> str:
        """Of the steps with their plans' hashes, and of what needs what."""
        rows = [
            [step.name, sorted(step.needs), step.digest, *([[*step.any_of]] if step.any_of else [])]
            for step in self.steps
        ]
        told = json.dumps([self.name, rows], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    def document(self) -> dict[str, Any]:
        """The graph as JSON data, with the keys that `--dry-run --json` promises."""
        steps = [step.document() for step in self.steps]
        return {"plan_hash": self.plan_hash, "pipeline": self.name, "steps": steps}
