"""How long an attempt may run: until Slurm's time limit, or until max_gpu_hours is used up. Asked once, by `begin`."""

from __future__ import annotations

import os

from . import budget, history, limits, slurm
from .chain import Order


def gpus(orders: Order) -> int | None:
    """GPUs of this attempt, where they are counted."""
    if orders.limits is None or orders.limits.gpu_hours is None:
        return None
    return budget.gpus(os.environ, orders.limits.gpus)


def spent(orders: Order) -> str | None:
    """Why max_gpu_hours does not allow this attempt."""
    count = gpus(orders)
    if count is None or orders.limits is None or orders.limits.gpu_hours is None:
        return None
    return budget.used_up(orders.limits.gpu_hours, budget.used(history.read(orders.run_dir), orders.job_id), count)


def exports(orders: Order, span: slurm.Span | None, asked: float) -> list[str]:
    """Shell lines that tell the agents when this attempt has to end; none where it has no end.

    `span` is its time as Slurm told it at `asked`, an instant of the monotonic clock.
    """
    ends = [] if span is None or span.left_s is None else [(span.left_s, False)]
    count = gpus(orders)
    if count is not None and orders.limits is not None and orders.limits.gpu_hours is not None:
        entries = history.read(orders.run_dir)
        since = span.used_s if span else 0.0
        ends.append((budget.left_s(orders.limits.gpu_hours, entries, orders.job_id, count, since), True))
    if not ends:
        return []
    left_s, of_budget = min(ends)
    return limits.exports(left_s, asked, of_budget)
