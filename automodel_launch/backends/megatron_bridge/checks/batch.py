"""Batches: what a step holds, and whether it divides (megatron/core/num_microbatches_calculator.py)."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import keys, layout, settings, training
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import amount, divisors, override, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def positive(plan: Plan) -> Iterator[Finding]:
    """Sizes, steps and cadences of 0 or less."""
    known = settings.of(plan.config)
    for key in keys.POSITIVE:
        value = known.number(key)
        if value is not None and value < 1 and known.written(key):
            yield Finding("error", "not-positive", f"{told(plan, known, key)} must be at least 1.", f"{key}=1 or more")
    for key in (keys.EVAL_EVERY, keys.EVAL_ITERS):
        value = known.number(key)
        if known.written(key) and ((value is not None and value < (key == keys.EVAL_EVERY)) or _null(known, key)):
            what = f"Megatron-Bridge divides train_iters by {keys.EVAL_EVERY}"
            if key == keys.EVAL_ITERS:
                what = "it is a number of iterations, 0 or more"
            message = f"{told(plan, known, key)}: {what}."
            fix = f"{keys.EVAL_ITERS}=0 turns validation off; {keys.EVAL_EVERY}=1 or more"
            yield Finding("error", "not-positive", message, fix)


def _null(known: Settings, key: str) -> bool:
    return known.known(key) and known.value(key) is None


def divides(plan: Plan) -> Iterator[Finding]:
    """A global batch is a multiple of micro batch x data-parallel ranks."""
    known = settings.of(plan.config)
    total, micro = known.number(keys.GLOBAL_BATCH), known.number(keys.MICRO_BATCH)
    dp = layout.data_parallel(known, plan.world_size)
    if dp is None or not total or not micro or total < 1 or micro < 1 or total % (micro * dp) == 0:
        return
    if known.value("train.decrease_batch_size_if_needed") is True:
        return
    together = micro * dp
    near = [size for size in (total // together * together, -(-total // together) * together) if size]
    fixes = [override(plan, keys.GLOBAL_BATCH, " or ".join(str(size) for size in dict.fromkeys(near)))]
    if total % dp == 0:
        fits = divisors(total // dp)
        fixes.append(override(plan, keys.MICRO_BATCH, min(fits, key=lambda size: abs(size - micro))))
    message = f"{told(plan, known, keys.GLOBAL_BATCH)} is not divisible by {told(plan, known, keys.MICRO_BATCH)} x"
    message += f" {dp} data-parallel ranks = {together} ({ranks(plan)})."
    yield Finding("error", "batch-math", message, ", or ".join(fixes))


def ramp_up(plan: Plan) -> Iterator[Finding]:
    """[start, increment, samples]: the start and each increment divide, too."""
    known = settings.of(plan.config)
    given, total = known.value(keys.RAMP_UP), known.number(keys.GLOBAL_BATCH)
    if not isinstance(given, list | tuple):
        return
    if len(given) != 3 or not all(isinstance(one, int) for one in given):
        message = f"{told(plan, known, keys.RAMP_UP)} is not [first batch, increment, samples]."
        yield Finding("error", "batch-math", message, f"{keys.RAMP_UP}=[16,16,100000]")
        return
    if known.value(keys.SAMPLES) is not None:
        message = f"{told(plan, known, keys.RAMP_UP)}, and {told(plan, known, keys.SAMPLES)}: it needs train_iters."
        yield Finding("error", "batch-math", message, f"~{keys.RAMP_UP}, or {keys.ITERS}")
        return
    micro, dp = known.number(keys.MICRO_BATCH), layout.data_parallel(known, plan.world_size)
    together = micro * dp if micro and dp else None
    first, step = given[0], given[1]
    if total and (step < 1 or (total - first) % step or total < first):
        message = (
            f"{told(plan, known, keys.RAMP_UP)}: {first} + n x {step} never is {told(plan, known, keys.GLOBAL_BATCH)}."
        )
        yield Finding("error", "batch-math", message, "an increment that divides the difference")
    elif together and first % together:
        message = f"{told(plan, known, keys.RAMP_UP)}: the first batch is not divisible by {micro} x {dp} data-parallel"
        message += " ranks."
        yield Finding("error", "batch-math", message, f"a multiple of {together}")


def packed(plan: Plan) -> Iterator[Finding]:
    """A packed sequence is a batch of its own: a ValueError where a rank is to take more than one."""
    known = settings.of(plan.config)
    size, micro = known.number("dataset.packed_sequence_specs.packed_sequence_size"), known.number(keys.MICRO_BATCH)
    if size and size > 0 and micro and micro > 1:
        message = (
            f"{told(plan, known, keys.MICRO_BATCH)}: the data set packs its samples into sequences of {size} tokens,"
        )
        message += " of which a rank takes one at a time."
        yield Finding("error", "batch-math", message, override(plan, keys.MICRO_BATCH, 1))


def tokens(plan: Plan) -> Iterator[Finding]:
    """Tokens of a step and of the run."""
    known = settings.of(plan.config)
    sequence, dp = training.length(known), layout.data_parallel(known, plan.world_size)
    total, micro = known.number(keys.GLOBAL_BATCH), known.number(keys.MICRO_BATCH)
    if (
        dp is None
        or sequence is None
        or not total
        or not micro
        or min(total, micro, sequence[1]) < 1
        or total % (micro * dp)
    ):
        return
    step, steps = total * sequence[1], training.iterations(plan.config)
    message = f"{total} sequences x {sequence[1]} tokens = {amount(step)} tokens a step"
    message += f" ({dp} data-parallel ranks x {micro} x {total // (micro * dp)} accumulated)"
    if steps and steps > 0:
        message += f"; {steps:,} steps = {amount(step * steps)} tokens"
    yield Finding("note", "tokens", f"{message}.")


CHECKS = (positive, divides, ramp_up, packed, tokens)
