"""Training that goes on with given weights on tokens: its rate rises again from below, and stays below pretraining's.

The weights come without the optimizer's moments, so that the first steps at a full rate throw them far; and they were
left at a rate that had fallen. Sources: Ibrahim et al. 2024 (arXiv 2403.08763), Gupta et al. 2023 (arXiv 2308.04014).
"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets, evaluation, lr_scheduler, starts, step_scheduler
from automodel_launch.backends.automodel.keys import INIT_LR, LR, MAX_LR, WARMUP
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_FROM_SCRATCH = 3e-4  # peak rates of pretraining from random weights begin here, for models of a billion parameters on
_SHARE = 100  # of the steps one is for the warm-up, in the offer


def rates(plan: Plan) -> Iterator[Finding]:
    """The course of the rate, where tokens are trained on that begin from weights; adapters are no such training."""
    weights = starts.begins_with(plan.config) if plan.recipe.name != evaluation.RECIPE else None
    if weights is None or plan.config.get("peft") or not list(datasets.data_paths(plan.config)):
        return
    steps, schedule = step_scheduler.max_steps(plan.config), lr_scheduler.schedule(plan.config)
    first = f"{WARMUP}={max(1, (steps or _SHARE) // _SHARE)}"
    if not plan.config.get("lr_scheduler"):
        message = f"the training goes on with the weights of {weights}, and without lr_scheduler its first step has the"
        yield Finding("warning", "continued", f"{message} full rate, {describe(plan, LR)}.", f"+{first}")
    if schedule is None or schedule.max_lr is None:
        return
    if schedule.warmup == 0 or (schedule.init_lr is not None and schedule.init_lr >= schedule.max_lr > 0):
        key = WARMUP if schedule.warmup == 0 else INIT_LR
        message = f"the training goes on with the weights of {weights}, and with {describe(plan, key)} its first step"
        fix = override(plan, *first.split("=")) if key == WARMUP else f"~{INIT_LR}"
        yield Finding("warning", "continued", f"{message} has the full rate, {schedule.max_lr:g}.", fix)
    if schedule.max_lr > _FROM_SCRATCH:
        key = MAX_LR if dotted.get(plan.config, MAX_LR) is not None else LR
        message = f"{describe(plan, key)} is a rate of pretraining from random weights, and these are those of"
        message += f" {weights}, which a high rate makes forget what they know."
        fix = f"{key}={schedule.max_lr / 10:g}, a tenth or less of its pretraining's"
        yield Finding("note", "continued", message, fix)


CHECKS = (rates,)
