"""Findings about a plan whose config is Megatron-Bridge's. docs/checks.md lists their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch.backends.megatron_bridge.checks import (
    adapters,
    batch,
    data,
    functions,
    hub_config,
    numbers,
    parallel,
    recipe,
    routing,
    rows,
    saving,
    schedule,
    sections,
    stages,
    values,
)
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

CHECKS: tuple[Callable[[Plan], Iterator[Finding]], ...] = (
    *recipe.CHECKS,
    *sections.CHECKS,
    *values.CHECKS,
    *numbers.CHECKS,
    *hub_config.CHECKS,
    *parallel.CHECKS,
    *stages.CHECKS,
    *batch.CHECKS,
    *schedule.CHECKS,
    *saving.CHECKS,
    *data.CHECKS,
    *rows.CHECKS,
    *routing.CHECKS,
    *adapters.CHECKS,
    *functions.CHECKS,
)
