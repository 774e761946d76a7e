"""Findings about a Plan: what can be known to go wrong before anything is submitted. A check never prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch import backends
from automodel_launch.checks import (
    containers,
    credentials,
    data,
    directories,
    forms,
    gpu_variables,
    machine,
    packaging,
    places,
    profile,
    runs,
    save_interval,
    shell_lines,
    storage,
    travelling,
    variables,
)
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

Check = Callable[[Plan], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *runs.CHECKS,
    *data.CHECKS,
    *storage.CHECKS,
    *save_interval.CHECKS,
    *directories.CHECKS,
    *profile.CHECKS,
    *shell_lines.CHECKS,
    *variables.CHECKS,
    *gpu_variables.CHECKS,
    *forms.CHECKS,
    *credentials.CHECKS,
    *machine.CHECKS,
    *packaging.CHECKS,
    *travelling.CHECKS,
    *containers.CHECKS,
)
_ORDER = {"error": 0, "warning": 1, "note": 2}


def run(plan: Plan, offline: bool = False) -> list[Finding]:
    """All findings of all checks, errors first; unless `offline`, the place where the job will run is asked too."""
    found = [*backends.of(plan.recipe).checks(plan), *(finding for check in CHECKS for finding in check(plan))]
    found += forms.unknown_options(plan) if offline else places.findings(plan)  # which the cluster knows best
    return in_order(found)


def in_order(found: list[Finding]) -> list[Finding]:
    """Errors first."""
    return sorted(found, key=lambda finding: _ORDER[finding.level])


__all__ = ["CHECKS", "Check", "Finding", "in_order", "run"]
