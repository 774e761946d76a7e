"""Rehearsing a sweep: once for all points that a rehearsal could not tell apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch.launch import checking
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.planset import Point, named
from automodel_launch.rehearsal.wanted import Option

MOST = 4
"""So many are made, 25 s at most each before a submission; what differs in more ways is told."""


def rehearse(
    points: Sequence[Point],
    found: list[Finding],
    folder: Path,
    option: Option,
    *,
    submits: bool,
    offline: bool,
    say: Callable[[str], None],
) -> list[Finding]:
    """Findings with the points that they are about; see checking.rehearse, whose arguments these are."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(shape(point.plan), []).append(point)
    findings: list[Finding] = []
    for group in list(groups.values())[:MOST]:

        def told(words: str, labels: str = f"{_labels(group)}: " if len(groups) > 1 else "") -> None:
            say(f"{labels}{words}")

        how: dict[str, Any] = {"submits": submits, "offline": offline, "say": told}
        outcome = checking.rehearse(group[0].plan, found, folder, option, **how)
        for finding in outcome.findings:
            of_group = finding if len(groups) == 1 else replace(finding, message=f"{_labels(group)}: {finding.message}")
            if finding.level == "note" and any(each.message.endswith(finding.message) for each in findings):
                continue
            findings.append(of_group)
    left = [point for group in list(groups.values())[MOST:] for point in group]
    if left and findings:
        message = f"these points need {len(groups)} rehearsals; {MOST} were made, none for {_labels(left)}."
        findings.append(Finding("note", "rehearsal-partial", message))
    return findings


def shape(plan: Plan) -> str:
    """What a rehearsal depends on: the profile, and the config without the run's name, and without what changes
    numbers and no shapes: fractions (rates, decays) and seeds."""
    text = json.dumps([plan.profile.model_dump(mode="json"), _shape(plan.config)], sort_keys=True, default=str)
    return text.replace(plan.run_dir, "@dir").replace(plan.run_name, "@run")


def _shape(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _shape(each, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shape(each) for each in value]
    return "@" if isinstance(value, float) or key.endswith("seed") else value


def _labels(points: Sequence[Point]) -> str:
    return named([point.label for point in points])
