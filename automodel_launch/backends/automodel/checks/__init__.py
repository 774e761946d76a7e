"""Findings about a plan whose config is AutoModel's. docs/checks.md lists their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch.backends.automodel.checks import (
    adapters,
    batch,
    compiling,
    continued,
    conversations,
    data,
    directories,
    loading,
    memory,
    model_configs,
    model_numbers,
    nanogpt,
    no_effect,
    parallel,
    phases,
    pipeline,
    precision,
    ranges,
    restoring,
    routing,
    run,
    schedule,
    schema,
    targets,
    templates,
    training,
    validations,
)
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

CHECKS: tuple[Callable[[Plan], Iterator[Finding]], ...] = (
    *run.CHECKS,
    *loading.CHECKS,
    *training.CHECKS,
    *precision.CHECKS,
    *schema.CHECKS,
    *compiling.CHECKS,
    *validations.CHECKS,
    *targets.CHECKS,
    *parallel.CHECKS,
    *pipeline.CHECKS,
    *batch.CHECKS,
    *schedule.CHECKS,
    *phases.CHECKS,
    *continued.CHECKS,
    *model_configs.CHECKS,
    *model_numbers.CHECKS,
    *ranges.CHECKS,
    *adapters.CHECKS,
    *no_effect.CHECKS,
    *restoring.CHECKS,
    *memory.CHECKS,
    *routing.CHECKS,
    *data.CHECKS,
    *conversations.CHECKS,
    *templates.CHECKS,
    *directories.CHECKS,
    *nanogpt.CHECKS,
)
