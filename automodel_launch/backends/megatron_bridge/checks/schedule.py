"""Lengths that must fit together: of sequences, of the learning rate's schedule, of checkpoints and validation.

Sources in megatron/bridge/training/config.py: TrainingConfig.finalize, SchedulerConfig.finalize,
ConfigContainer.validate and _calculate_scheduler_steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from automodel_launch.backends import optimizers
from automodel_launch.backends.megatron_bridge import checkpoints, keys, layout, settings, training
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def sequences(plan: Plan) -> Iterator[Finding]:
    """Model and data have one sequence length; with context parallelism it divides into two parts a rank."""
    known = settings.of(plan.config)
    data_key = next((key for key in (keys.DATA_LENGTH, keys.DATA_LENGTH_TOO) if known.written(key)), None)
    if data_key and known.written(keys.MODEL_LENGTH):
        one, other = known.number(keys.MODEL_LENGTH), known.number(data_key)
        if one is not None and other is not None and one != other:
            message = f"{describe(plan, keys.MODEL_LENGTH)} and {describe(plan, data_key)} have to be the same."
            yield Finding("error", "sequence-length", message, f"~{data_key}; it follows the model's")
    length, sizes = training.length(known), layout.sizes(known)
    if length and sizes and sizes.cp > 1 and length[1] > 0 and length[1] % (2 * sizes.cp):
        near = max(1, round(length[1] / (2 * sizes.cp))) * 2 * sizes.cp
        message = f"{told(plan, known, length[0])} is not divisible by 2 x {told(plan, known, keys.CP)}."
        yield Finding("error", "sequence-length", message, override(plan, length[0], near))
    if length and sizes and sizes.tp > 1 and known.value(keys.SEQUENCE_PARALLEL) is True and length[1] % sizes.tp:
        message = (
            f"{told(plan, known, length[0])} is not divisible by {told(plan, known, keys.TP)}, as sequence_parallel"
        )
        yield Finding(
            "error", "sequence-length", f"{message} needs.", override(plan, length[0], length[1] // sizes.tp * sizes.tp)
        )


def ends(plan: Plan) -> Iterator[Finding]:
    """Iterations or samples, and not both."""
    known = settings.of(plan.config)
    if not known.known(keys.ITERS, keys.SAMPLES) or not isinstance(plan.config.get("train", {}), Mapping):
        return  # what is no section, checks/sections.py reports
    iterations, samples = known.value(keys.ITERS), known.value(keys.SAMPLES)
    if iterations is not None and samples is not None:
        message = f"{told(plan, known, keys.ITERS)} and {told(plan, known, keys.SAMPLES)}: Megatron-Bridge takes one."
        yield Finding("error", "no-end", message, override(plan, keys.ITERS, "null"))
    elif iterations is None and samples is None and known.complete:
        yield Finding(
            "error", "no-end", f"{told(plan, known, keys.ITERS)}: the run needs an end.", f"{keys.ITERS}=STEPS"
        )


def warm_up(plan: Plan) -> Iterator[Finding]:
    """Warm-up < decay, in iterations; Megatron-Bridge shortens a longer one without stopping."""
    known = settings.of(plan.config)
    fraction, warmup, decay, end = _lengths(known, plan)
    if fraction is not None and known.number(keys.WARMUP):
        both = f"{told(plan, known, keys.WARMUP_FRACTION)} and {told(plan, known, keys.WARMUP)}"
        message = f"{both}: Megatron-Bridge takes one."
        yield Finding("error", "lr-length", message, override(plan, keys.WARMUP, 0))
    elif fraction is not None and not 0 <= fraction < 1:
        message = f"{told(plan, known, keys.WARMUP_FRACTION)} is no share of the decay."
        yield Finding("error", "lr-length", message, f"{keys.WARMUP_FRACTION}=0.01")
    elif decay is not None and decay < 1:
        yield Finding("error", "lr-length", f"{told(plan, known, keys.DECAY)} must be at least 1.", f"~{keys.DECAY}")
    elif warmup is not None and decay is not None and warmup >= decay:
        until = told(plan, known, keys.DECAY if known.value(keys.DECAY) is not None else keys.ITERS)
        message = (
            f"{told(plan, known, keys.WARMUP)} is not less than {until}: Megatron-Bridge cuts it to one step less, so"
        )
        message += " that the rate only rises."
        yield Finding("warning", "lr-length", message, override(plan, keys.WARMUP, max(0, decay // 10)))
    elif end and decay and known.written(keys.DECAY) and decay < end and known.value(keys.STYLE) != "constant":
        share = 100 * (end - decay) / end
        message = (
            f"{describe(plan, keys.DECAY)} is less than {told(plan, known, keys.ITERS)}: the last {share:.0f} % train"
        )
        yield Finding("warning", "lr-length", f"{message} at min_lr.", override(plan, keys.DECAY, end))
    elif end and decay and known.written(keys.DECAY) and decay > end and known.value(keys.STYLE) != "constant":
        message = (
            f"{describe(plan, keys.DECAY)} is more than {told(plan, known, keys.ITERS)}: the run ends before the rate"
        )
        fix = f"{keys.DECAY}={end}, unless the run is to be made longer later"
        yield Finding("note", "lr-length", f"{message} is at min_lr.", fix)


def _lengths(known: Settings, plan: Plan) -> tuple[float | None, int | None, int | None, int | None]:
    """(warm-up fraction, warm-up, decay, end), in iterations; None where one is not known or not given."""
    end = training.iterations(plan.config)
    decay = known.number(keys.DECAY) if known.known(keys.DECAY) else None
    decay = end if known.value(keys.DECAY) is None and known.known(keys.DECAY) else decay
    if known.value(keys.SAMPLES) is not None:
        return known.rate(keys.WARMUP_FRACTION), None, None, end
    return known.rate(keys.WARMUP_FRACTION), known.number(keys.WARMUP), decay, end


def rates(plan: Plan) -> Iterator[Finding]:
    """The least rate is below the highest one; WSD says how long it falls."""
    known = settings.of(plan.config)
    top, least = known.rate(keys.LR), known.rate(keys.MIN_LR)
    is_rate = top is not None and 0 < top < math.inf
    if top is not None and is_rate and least is not None and not 0 <= least <= top:
        what = (
            f"is above {told(plan, known, keys.LR)}" if least > top else "is negative" if least < 0 else "is no number"
        )
        yield Finding(
            "error",
            "lr-range",
            f"{told(plan, known, keys.MIN_LR)} {what}.",
            override(plan, keys.MIN_LR, f"{top / 10:g}"),
        )
    if top is not None and not is_rate and known.written(keys.LR):
        what = "every weight would be NaN after the first step" if top > 0 else "nothing would be learned"
        yield Finding("error", "lr-range", f"{told(plan, known, keys.LR)}: {what}.", f"{keys.LR}=3e-4")
    high = optimizers.too_high(top) if known.value("optimizer.optimizer") == "adam" else None
    if high and known.written(keys.LR):
        yield Finding(high[0], "lr-range", f"{told(plan, known, keys.LR)}: {high[1]}", f"{keys.LR}=3e-4")
    if known.value(keys.STYLE) == "WSD" and known.value(keys.WSD) is None and known.value(keys.SAMPLES) is None:
        message = f"{told(plan, known, keys.STYLE)} needs {keys.WSD}, which is not given."
        yield Finding("error", "lr-style", message, f"+{keys.WSD}=STEPS, the last ones, in which the rate falls")


def by_samples(plan: Plan) -> Iterator[Finding]:
    """A schedule counts what the training counts."""
    known = settings.of(plan.config)
    sampled = known.value(keys.SAMPLES) is not None
    if sampled and known.recipe:
        for key in (keys.WARMUP, keys.DECAY):
            if known.number(key):
                message = f"{told(plan, known, key)} counts iterations, and {told(plan, known, keys.SAMPLES)} samples."
                other = key.replace("_iters", "_samples")
                yield Finding(
                    "error",
                    "lr-length",
                    message,
                    f"{override(plan, key, 0 if key == keys.WARMUP else 'null')} +{other}=N",
                )
    for key in ("scheduler.lr_warmup_samples", "scheduler.lr_decay_samples"):
        if not sampled and known.number(key):
            message = f"{told(plan, known, key)} counts samples, and {told(plan, known, keys.ITERS)} iterations."
            yield Finding("error", "lr-length", message, f"{key.replace('_samples', '_iters')}=N in its place")


def cadence(plan: Plan) -> Iterator[Finding]:
    """Checkpoints and validations come before the end."""
    known, end = settings.of(plan.config), training.iterations(plan.config)
    if not end or end < 2:
        return
    every = checkpoints.every(known)
    saves = checkpoints.checkpoint_dir(plan.config, plan.run_dir) is not None
    if saves and every is None and known.complete and known.known(keys.SAVE_EVERY):
        message = f"{told(plan, known, keys.SAVE_EVERY)}: the only checkpoint is that of the last step."
        yield Finding("warning", "cadence", message, override(plan, keys.SAVE_EVERY, max(1, end // 4)))
    elif saves and every and every > end:
        message = (
            f"{told(plan, known, keys.SAVE_EVERY)} is more than {told(plan, known, keys.ITERS)}: the only checkpoint is"
        )
        yield Finding(
            "warning", "cadence", f"{message} that of the last step.", override(plan, keys.SAVE_EVERY, max(1, end // 4))
        )
    validate, rounds = known.number(keys.EVAL_EVERY), known.number(keys.EVAL_ITERS)
    if validate and rounds and validate > end and known.written(keys.EVAL_EVERY):
        message = (
            f"{told(plan, known, keys.EVAL_EVERY)} is more than {told(plan, known, keys.ITERS)}: nothing is validated"
        )
        yield Finding(
            "note", "cadence", f"{message} before the end.", override(plan, keys.EVAL_EVERY, max(1, end // 4))
        )


CHECKS = (sequences, ends, warm_up, rates, by_samples, cadence)
