"""Batches: what a step holds, and whether it divides (nemo_automodel, components/training/step_scheduler.py)."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets, distributed, evaluation, keys, loader, step_scheduler
from automodel_launch.backends.automodel.keys import GLOBAL_BATCH, LOCAL_BATCH
from automodel_launch.backends.automodel.model import parallelism
from automodel_launch.plan.describe import amount, describe, divisors, override, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def positive(plan: Plan) -> Iterator[Finding]:
    """Batch sizes, steps and cadences of 0 or less; AutoModel reports them after the model is loaded, if at all."""
    for key in keys.POSITIVE if step_scheduler.is_given(plan.config) else ():
        value = loader.value(plan.config, key)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            null = "" if key in (GLOBAL_BATCH, LOCAL_BATCH) else f", or ~{key}"
            yield Finding(
                "error", "not-positive", f"{describe(plan, key)} must be at least 1.", f"{key}=1 or more{null}"
            )


def sequences(plan: Plan) -> Iterator[Finding]:
    """Data in samples of no token: a division by zero where the index is built, or an endless one.

    `seq_len` is NanogptDataset's, which reads windows of one token; the index of Megatron data has none of one.
    """
    megatron = {key for key, kind, _ in datasets.datasets(plan.config) if datasets.is_megatron(kind)}
    for key, length in datasets.sequences(plan.config):
        least = 2 if key.partition(".")[0] in megatron else 1
        if length < least and key.endswith("seq_length"):
            yield Finding("error", "not-positive", f"{describe(plan, key)} must be at least {least}.", f"{key}=2048")


def divides(plan: Plan) -> Iterator[Finding]:
    """A global batch is a multiple of the local batches on each data-parallel rank."""
    steps, dp = step_scheduler.steps(plan.config), data_parallel(plan)
    if steps is None or dp is None or steps.global_batch < 1 or steps.local_batch < 1:
        return
    together = steps.local_batch * dp
    if steps.global_batch % together == 0:
        return
    message = (
        f"{describe(plan, GLOBAL_BATCH)} is not divisible by {describe(plan, LOCAL_BATCH)} x {dp} data-parallel ranks ="
        f" {together} ({ranks(plan)})."
    )
    yield Finding("error", "batch-math", message, _sizes_that_divide(plan, steps.global_batch, steps.local_batch, dp))


def _sizes_that_divide(plan: Plan, total: int, local: int, dp: int) -> str:
    """The nearest global batches, and the nearest local one."""
    together = local * dp
    near = [size for size in (total // together * together, -(-total // together) * together) if size]
    fixes = [override(plan, GLOBAL_BATCH, " or ".join(str(size) for size in dict.fromkeys(near)))]
    if total % dp == 0:
        fits = divisors(total // dp)
        fixes.append(override(plan, LOCAL_BATCH, min(fits, key=lambda size: abs(size - local))))
    return ", or ".join(fixes)


def data_parallel(plan: Plan) -> int | None:
    """Data-parallel ranks; None where the parallel sizes do not fit together, or are not known here."""
    mesh = distributed.mesh(plan.config)
    if mesh is None:
        return None
    if distributed.STRATEGIES.get(mesh.strategy) == "ddp":
        return plan.world_size
    layout = parallelism.layout(mesh, plan.world_size)
    return layout.dp if layout else None


def tokens(plan: Plan) -> Iterator[Finding]:
    """Tokens of a step and of the run."""
    steps, dp, sequence = step_scheduler.steps(plan.config), data_parallel(plan), datasets.sequence(plan.config)
    if steps is None or dp is None or sequence is None or min(steps.global_batch, steps.local_batch, sequence[1]) < 1:
        return
    if steps.global_batch % (steps.local_batch * dp) or plan.recipe.name == evaluation.RECIPE:  # it takes no step
        return
    step = steps.global_batch * sequence[1]
    accumulated = steps.global_batch // (steps.local_batch * dp)
    message = (
        f"{steps.global_batch} sequences x {sequence[1]} tokens = {amount(step)} tokens a step"
        f" ({dp} data-parallel ranks x {steps.local_batch} x {accumulated} accumulated)"
    )
    if steps.max_steps and steps.max_steps > 0:
        message += f"; {steps.max_steps:,} steps = {amount(step * steps.max_steps)} tokens"
    yield Finding("note", "tokens", f"{message}.")


CHECKS = (positive, sequences, divides, tokens)
