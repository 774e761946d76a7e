"""What a launcher knows of a plan when it submits it, kept in the job's directory for who looks later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from automodel_launch import backends
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def noted(plan: Plan, findings: Iterable[Finding] = ()) -> Plan:
    """The plan with them: what was found, and what a token costs by the model's shape."""
    notes = {
        "findings": [finding.document() for finding in findings],
        "flops_per_token": backends.of(plan.recipe).sizes(plan, with_data=False).flops_per_token,
        "gpu": plan.profile.gpu,
    }
    return replace(plan, notes=notes)
