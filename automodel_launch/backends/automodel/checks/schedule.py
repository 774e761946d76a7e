"""Lengths that must be consistent: the learning rate's schedule, checkpoints and validation, samples and epochs.

Sources in nemo_automodel: components/optim/optimizer.py (LRSchedulerConfig.build), components/optim/scheduler.py,
components/training/step_scheduler.py, components/datasets/llm/megatron_dataset.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from automodel_launch.backends import optimizers
from automodel_launch.backends.automodel import (
    checkpoints,
    datasets,
    evaluation,
    keys,
    loader,
    lr_scheduler,
    phases,
    step_scheduler,
)
from automodel_launch.backends.automodel.data import tokens
from automodel_launch.backends.automodel.data_phases import KEY
from automodel_launch.backends.automodel.keys import (
    CKPT_EVERY,
    DECAY,
    INIT_LR,
    LR,
    MAX_LR,
    MAX_STEPS,
    MIN_LR,
    STYLE,
    TRAIN_SAMPLES,
    VAL_EVERY,
    WARMUP,
    WSD_STEPS,
    WSD_STYLE,
)
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.tokens import epochs as times_read
from automodel_launch.backends.data.tokens import most_read
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# Up to four epochs are nearly as good as new data (Muennighoff et al. 2023, arXiv 2305.16264).
EPOCHS = 4


def style(plan: Plan) -> Iterator[Finding]:
    """AutoModel looks at WSD's own keys when the warm-up has ended. Unknown styles are for checks/schema.py to say."""
    schedule = lr_scheduler.schedule(plan.config)
    if schedule is None or schedule.style != "WSD":
        return
    if schedule.wsd_steps is None:
        message = f"{describe(plan, STYLE)} needs {WSD_STEPS}, which is not given."
        yield Finding("error", "lr-style", message, f"+{WSD_STEPS}=STEPS, the last ones, in which the rate falls")
    elif schedule.decay is not None and schedule.wsd_steps > schedule.decay:
        message = f"{describe(plan, WSD_STEPS)} is more than {describe(plan, DECAY)}."
        yield Finding("error", "lr-style", message, f"{WSD_STEPS}={max(1, schedule.decay // 10)}")
    styles = " or ".join(lr_scheduler.WSD_STYLES)
    if schedule.wsd_style is None:
        message = f"{describe(plan, STYLE)} needs {WSD_STYLE}, which is not given."
        yield Finding("error", "lr-style", message, f"{override(plan, WSD_STYLE, styles)}, the form of the last steps")
    elif schedule.wsd_style not in lr_scheduler.WSD_STYLES:
        message = f"{describe(plan, WSD_STYLE)} is not a style for the last steps of {describe(plan, STYLE)}."
        yield Finding("error", "lr-style", message, f"{WSD_STYLE}={styles}")


def rates(plan: Plan) -> Iterator[Finding]:
    """Bare AssertionErrors of AutoModel's scheduler: min_lr <= max_lr, init_lr <= max_lr."""
    schedule = lr_scheduler.schedule(plan.config)
    if schedule is None or schedule.max_lr is None:
        return
    if schedule.max_lr < 0:
        # torch's optimizers refuse it; a rate that is derived from it is no fault of its own
        rate = "lr_scheduler.max_lr" if dotted.get(plan.config, "lr_scheduler.max_lr") is not None else LR
        yield Finding(
            "error", "lr-range", f"{describe(plan, rate)} is negative.", override(plan, rate, f"{-schedule.max_lr:g}")
        )
        return
    top = describe(plan, "lr_scheduler.max_lr" if dotted.get(plan.config, "lr_scheduler.max_lr") is not None else LR)
    for key, value in ((MIN_LR, schedule.min_lr), (INIT_LR, schedule.init_lr)):
        if value is not None and value > schedule.max_lr:
            name = describe(plan, key) if dotted.get(plan.config, key) is not None else f"{key} (derived: {value:g})"
            yield Finding(
                "error", "lr-range", f"{name} is above {top}.", override(plan, key, f"{schedule.max_lr / 10:g}")
            )
    if schedule.min_lr is not None and schedule.min_lr < 0:
        yield Finding("error", "lr-range", f"{describe(plan, MIN_LR)} is negative.", override(plan, MIN_LR, "0.0"))


def finite(plan: Plan) -> Iterator[Finding]:
    """A rate that is no number is refused by torch's optimizers; they take an infinite one, and train nothing."""
    for key in (LR, MAX_LR):
        value = loader.value(plan.config, key)
        if isinstance(value, float) and math.isnan(value):
            yield Finding("error", "lr-range", f"{describe(plan, key)} is no number.", f"{key}=3e-4")
        elif value == math.inf:
            message = f"{describe(plan, key)}: every weight would be NaN after the first step."
            yield Finding("error", "lr-range", message, f"{key}=3e-4")


def lengths(plan: Plan) -> Iterator[Finding]:
    """Warm-up < decay, and both against the run's steps."""
    schedule, steps = lr_scheduler.schedule(plan.config), step_scheduler.steps(plan.config)
    if schedule is None or steps is None:
        return
    warmup, decay, end = schedule.warmup, schedule.decay, steps.max_steps
    written = dotted.get(plan.config, DECAY) is not None
    until = describe(plan, DECAY) if written else f"{DECAY} (derived from {describe(plan, MAX_STEPS)})"
    if warmup is not None and warmup < 0:
        yield Finding("error", "lr-length", f"{describe(plan, WARMUP)} is negative.", override(plan, WARMUP, 0))
    elif decay is not None and decay < 1:
        yield Finding("error", "lr-length", f"{until} must be at least 1.", override(plan, DECAY, end or "STEPS"))
    elif warmup is not None and decay is not None and warmup >= decay:
        message = f"{describe(plan, WARMUP)} must be less than {until}."
        yield Finding("error", "lr-length", message, override(plan, WARMUP, max(decay // 10, 0)))
    elif schedule.style != "constant" and written and end and decay is not None and decay != end:
        yield _decay_and_end(plan, decay, end)
    elif warmup is not None and end and warmup >= end:
        message = f"{describe(plan, WARMUP)} is not over when {describe(plan, MAX_STEPS)} ends the run."
        yield Finding("warning", "lr-length", message, override(plan, WARMUP, end // 10))


def _decay_and_end(plan: Plan, decay: int, end: int) -> Finding:
    last = describe(plan, MAX_STEPS)
    if decay < end:
        share = 100 * (end - decay) / end
        message = f"{describe(plan, DECAY)} is less than {last}: the last {share:.0f} % train at min_lr."
        return Finding("warning", "lr-length", message, override(plan, DECAY, end))
    message = f"{describe(plan, DECAY)} is more than {last}: the run ends before the rate is at min_lr."
    return Finding("note", "lr-length", message, f"{DECAY}={end}, unless the run is to be made longer later")


def ends(plan: Plan) -> Iterator[Finding]:
    """NanogptDataset has no length; without max_steps AutoModel cannot tell when to stop, and says so after loading."""
    steps = step_scheduler.steps(plan.config)
    if steps is not None and steps.max_steps is None and datasets.endless(plan.config):
        message = f"{describe(plan, MAX_STEPS)}: {datasets.NANOGPT_DATASET} never stops, so the run needs an end."
        yield Finding("error", "no-end", message, f"+{MAX_STEPS}=STEPS")


def cadence(plan: Plan) -> Iterator[Finding]:
    """Checkpoints and validations come before the end."""
    steps = step_scheduler.steps(plan.config)
    if steps is None or not steps.max_steps or steps.max_steps < 1:
        return
    end = steps.max_steps
    saves = checkpoints.checkpoint_dir(plan.config) is not None
    if saves and steps.ckpt_every and steps.ckpt_every > end > 1:
        key = describe(plan, CKPT_EVERY) if dotted.get(plan.config, CKPT_EVERY) is not None else f"{CKPT_EVERY} = 100"
        message = f"{key} is more than {describe(plan, MAX_STEPS)}: the only checkpoint is that of the last step."
        yield Finding("warning", "cadence", message, override(plan, CKPT_EVERY, max(1, end // 4)))
    if steps.val_every and steps.val_every > 0:
        if not datasets.validates(plan.config):
            message = f"{describe(plan, VAL_EVERY)} has no effect without a validation_dataset."
            yield Finding("note", "cadence", message, f"~{VAL_EVERY}, or a section validation_dataset")
        elif steps.val_every > end:
            message = f"{describe(plan, VAL_EVERY)} is more than {describe(plan, MAX_STEPS)}: validation runs only"
            message += " with a checkpoint."
            yield Finding("warning", "cadence", message, override(plan, VAL_EVERY, max(1, end // 4)))


def samples(plan: Plan) -> Iterator[Finding]:
    """`num_train_samples` covers the run (a bare AssertionError of MegatronPretraining)."""
    steps, given = step_scheduler.steps(plan.config), datasets.train_samples(plan.config)
    if (
        phases.are_given(plan.config)
        or steps is None
        or given is None
        or not steps.max_steps
        or datasets.endless(plan.config)
    ):
        return
    need = steps.max_steps * steps.global_batch
    if given < need:
        message = (
            f"{describe(plan, TRAIN_SAMPLES)} is less than {describe(plan, MAX_STEPS)} x"
            f" {describe(plan, keys.GLOBAL_BATCH)} = {need}."
        )
        yield Finding("error", "num-samples", message, f"{TRAIN_SAMPLES}={need} or more, or ~{TRAIN_SAMPLES}")


def epochs(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """How often the run reads its data; AutoModel starts from their beginning again without a message."""
    steps, sequence = step_scheduler.steps(plan.config), datasets.sequence(plan.config)
    parts = tokens.of_training(plan.config, data) if plan.recipe.name != evaluation.RECIPE else []
    if steps is None or sequence is None or not steps.max_steps or steps.max_steps < 1 or not parts:
        return
    wanted = steps.max_steps * steps.global_batch * sequence[1]
    times = times_read(parts, wanted)
    if times <= 1:
        return
    different = len({round(part.share / part.tokens * wanted, 1) for part in parts}) > 1
    worst = f" (most often {most_read(parts, wanted).name})" if different else ""
    paths = (key for key, _ in datasets.data_paths(plan.config) if key.startswith("dataset."))
    named = KEY if phases.are_given(plan.config) else next(paths, "dataset")
    message = (
        f"the run takes {amount(wanted)} tokens ({describe(plan, MAX_STEPS)} x {steps.global_batch} x {sequence[1]}),"
        f" and {describe(plan, named)} holds {amount(sum(part.tokens for part in parts))} for"
        f" training: {times:.1f} epochs{worst}."
    )
    fewer = 0 if phases.are_given(plan.config) else int(steps.max_steps / times)  # which phases would not fit
    fix = f"more data, or {MAX_STEPS}={fewer} for one epoch" if fewer else "more data"
    yield Finding("warning" if times > EPOCHS else "note", "epochs", message, fix)


def high(plan: Plan) -> Iterator[Finding]:
    """Adam's step moves every weight by about the rate, whatever the gradient."""
    if not optimizers.is_adam(loader.value(plan.config, "optimizer._target_")):
        return
    for key in (LR, MAX_LR):
        value = loader.value(plan.config, key)
        found = optimizers.too_high(value)
        if found:
            level, why = found
            yield Finding(level, "lr-range", f"{describe(plan, key)}: {why}", f"{key}=3e-4")


CHECKS = (style, rates, finite, high, lengths, ends, cadence, samples)
