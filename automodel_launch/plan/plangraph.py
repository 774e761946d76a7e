"""PlanGraph: a pipeline as a value. Steps, each with a Plan, what it needs of others and what it promises them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

FINISHED = "FINISHED"  # `state` of a step that is not started again


@dataclass(frozen=True)
class Step:
    """One step. `state`: of its run's last job, FINISHED, or "" where there is none that waits or runs.

    `digest` is the hash of its plan as a launch of it alone; `plan` says besides whether it is submitted held.
    """

    name: str
    plan: Plan
    digest: str
    needs: tuple[str, ...] = ()
    promises: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    job_id: str | None = None  # of the job that waits or runs
    findings: tuple[Finding, ...] = ()

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
            "promises": dict(self.promises),
            "state": self.state or None,
            "job_id": self.job_id,
            "plan": self.plan.document(),
            "findings": [finding.document() for finding in self.findings],
        }


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
        rows = [[step.name, sorted(step.needs), step.digest] for step in self.steps]
        told = json.dumps([self.name, rows], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    def document(self) -> dict[str, Any]:
        """The graph as JSON data, with the keys that `--dry-run --json` promises."""
        steps = [step.document() for step in self.steps]
        return {"plan_hash": self.plan_hash, "pipeline": self.name, "steps": steps}
