"""Numbers of the training outside of what torch's optimizers, AutoModel's scheduler and the loader take.

Each ends the job before its first step, most of them as a bare AssertionError (tried with AutoModel 0.7.0, torch 2.11).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import keys, loader
from automodel_launch.backends.automodel.schema import kinds
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus

_OF_TORCH = "torch.optim."  # another optimizer may read its numbers otherwise
_FROM_ZERO = ("weight_decay", "eps", "momentum", "lr_decay", "initial_accumulator_value")
_SHARES = ("alpha",)  # RMSprop's
_OTHER_STEPS = {  # torch's optimizers that take no step as AutoModel asks for one
    "LBFGS": "it wants to compute the loss itself, several times a step",
    "SparseAdam": "it takes sparse gradients only",
}
_GPU_ONLY = ("nvtx", "optimizer.capturable", "distributed.offload_policy")
_AT_LEAST = {
    keys.KEEP_CHECKPOINTS: 1,  # AutoModel wants one, or null
    "step_scheduler.loss_average_window_steps": 1,
    "peft.dim": 1,
    "peft.alpha": 1,
    "neftune.noise_alpha": 0,
    "dataloader.num_workers": 0,
    "validation_dataloader.num_workers": 0,
    "dataset.num_train_samples": 1,
}
_ABOVE_ZERO = ("dist_env.timeout_minutes", "checkpoint.consolidation_timeout_minutes")
_SEEDS, _MOST_SEED = ("seed", "dataset.seed", "validation_dataset.seed"), 2**32 - 1
_START_WD, _END_WD, _WD_STYLE = (f"lr_scheduler.{name}" for name in ("start_wd", "end_wd", "wd_incr_style"))
_WORKERS, _PREFETCH = "dataloader.num_workers", "dataloader.prefetch_factor"


def optimizer(plan: Plan) -> Iterator[Finding]:
    """What torch's optimizers refuse when they are made."""
    section = plan.config.get("optimizer")
    if not isinstance(section, Mapping) or not str(section.get("_target_")).startswith(_OF_TORCH):
        return
    for name in (*_FROM_ZERO, *_SHARES):
        key = f"optimizer.{name}"
        value = _number(loader.value(plan.config, key))
        if value is not None and not 0 <= value < math.inf:
            what = "is negative" if value < 0 else "is no number to compute with"
            yield Finding("error", "bad-value", f"{describe(plan, key)} {what}; torch takes 0 or more.", f"{key}=0.0")
    name = str(section["_target_"]).rpartition(".")[2]
    if name in _OTHER_STEPS:
        message = f"{describe(plan, 'optimizer._target_')}: {_OTHER_STEPS[name]}, so the first step fails."
        yield Finding("error", "bad-value", message, f"optimizer._target_={_OF_TORCH}AdamW")
    if loader.value(plan.config, "optimizer.differentiable") is True:
        message = (
            f"{describe(plan, 'optimizer.differentiable')}: torch refuses such a step on weights that are trained."
        )
        yield Finding("error", "bad-value", message, "~optimizer.differentiable")
    if loader.value(plan.config, "optimizer.nesterov") is True and name == "SGD":
        momentum, dampening = (
            _number(loader.value(plan.config, f"optimizer.{one}")) for one in ("momentum", "dampening")
        )
        if not momentum or dampening:
            message = f"{describe(plan, 'optimizer.nesterov')} needs a momentum above 0, and no dampening."
            yield Finding("error", "bad-value", message, override(plan, "optimizer.momentum", 0.9))
    yield from _betas(plan, name)
    yield from _rate(plan)
    if all(loader.value(plan.config, f"optimizer.{one}") is True for one in ("fused", "foreach")):
        message = (
            f"{describe(plan, 'optimizer.fused')} and {describe(plan, 'optimizer.foreach')}: torch takes one of them."
        )
        yield Finding("error", "bad-value", message, "~optimizer.foreach")


def _rate(plan: Plan) -> Iterator[Finding]:
    """A negative rate, where no schedule looks at it (checks/schedule.py)."""
    rate = _number(loader.value(plan.config, keys.LR))
    if rate is not None and rate < 0 and not plan.config.get("lr_scheduler"):
        fix = override(plan, keys.LR, f"{-rate:g}")
        yield Finding("error", "lr-range", f"{describe(plan, keys.LR)} is negative.", fix)


def _betas(plan: Plan, name: str) -> Iterator[Finding]:
    """Two shares below 1; Adafactor's and Muon's are others."""
    key = "optimizer.betas"
    given = loader.value(plan.config, key)
    if not isinstance(given, list | tuple) or "Adam" not in name:
        return
    numbers = [_number(kinds.as_read(one)) for one in given]
    if len(given) != 2 or any(one is not None and not 0 <= one < 1 for one in numbers):
        message = f"{describe_value(plan, key, list(given))} is not two numbers from 0 to below 1, as {name} takes."
        yield Finding("error", "bad-value", message, f"{key}=[0.9,0.95]")


def weight_decay(plan: Plan) -> Iterator[Finding]:
    """The scheduler's own weight decay: from 0, rising, and the same at both ends where it is constant."""
    if not isinstance(plan.config.get("lr_scheduler"), Mapping):
        return
    start, end = (_number(loader.value(plan.config, key)) for key in (_START_WD, _END_WD))
    style = loader.value(plan.config, _WD_STYLE)
    low = next((key for key, value in ((_START_WD, start), (_END_WD, end)) if value is not None and value < 0), None)
    if low:
        yield Finding("error", "bad-value", f"{describe(plan, low)} is negative.", f"{low}=0.0")
    elif start is not None and end is not None and end < start:
        message = f"{describe(plan, _END_WD)} is less than {describe(plan, _START_WD)}: it may only rise."
        yield Finding("error", "bad-value", message, f"{_END_WD}={start:g} or more")
    elif None not in (start, end) and start != end and style in (None, "constant"):
        message = f"{describe(plan, _START_WD)} and {describe(plan, _END_WD)} differ, and {describe(plan, _WD_STYLE)}"
        fix = f"{override(plan, _WD_STYLE, 'linear')}, or both the same"
        yield Finding("error", "bad-value", f"{message} is constant.", fix)


def counts(plan: Plan) -> Iterator[Finding]:
    """Counts and times below the least."""
    sets = [f"{key}.num_val_samples" for key in plan.config if key.startswith(keys.VALIDATION)]
    for key, least in {**_AT_LEAST, **dict.fromkeys(sets, 1)}.items():
        value = _number(loader.value(plan.config, key))
        if value is not None and value < least:
            none = ", or null for all of them" if key == keys.KEEP_CHECKPOINTS else ""
            yield Finding(
                "error", "not-positive", f"{describe(plan, key)} must be at least {least}.", f"{key}={least}{none}"
            )
    for key in _ABOVE_ZERO:
        value = _number(loader.value(plan.config, key))
        if value is not None and not 0 < value < math.inf:
            message = f"{describe(plan, key)}: a time has to be above 0, and a number of minutes."
            yield Finding("error", "not-positive", message, f"{key}=30")


def seeds(plan: Plan) -> Iterator[Finding]:
    """NumPy takes 32 bits, and each rank adds its own number to the seed of all."""
    for key in _SEEDS:
        value, most = _number(loader.value(plan.config, key)), _MOST_SEED
        most -= plan.world_size - 1 if key == "seed" else 0
        if value is not None and not 0 <= value <= most:
            message = f"{describe(plan, key)} is not from 0 to {most:,}, as NumPy takes a seed."
            yield Finding("error", "bad-value", message, f"{key}=1234")


def prefetch(plan: Plan) -> Iterator[Finding]:
    """Batches are fetched ahead by worker processes, of which there have to be some."""
    factor, workers = (_number(loader.value(plan.config, key)) for key in (_PREFETCH, _WORKERS))
    if factor is None or dotted.left_to_the_job(dotted.get(plan.config, _WORKERS)):
        return
    if not workers:
        message = f"{describe(plan, _PREFETCH)}, and {describe(plan, _WORKERS)}: no process fetches ahead, so torch"
        yield Finding("error", "bad-value", f"{message} refuses it.", f"~{_PREFETCH}, or {_WORKERS}=2")
    elif factor < 1:
        yield Finding("error", "not-positive", f"{describe(plan, _PREFETCH)} must be at least 1.", f"{_PREFETCH}=2")


def processes(plan: Plan) -> Iterator[Finding]:
    """torch's packages are built without MPI."""
    key = "dist_env.backend"
    if loader.value(plan.config, key) == "mpi" and not dotted.left_to_the_job(dotted.get(plan.config, key)):
        message = f"{describe(plan, key)}: torch has it only where it was built on a machine with MPI."
        yield Finding("error", "bad-value", message, f"{key}=nccl")


def without_gpus(plan: Plan) -> Iterator[Finding]:
    """What a CPU has not."""
    there = gpus.of_a_node(plan.here and not plan.image, plan.profile.gpus_per_node)
    for key in _GPU_ONLY if there == 0 else ():
        value = loader.value(plan.config, key)
        if value is True or (isinstance(value, Mapping) and value):
            yield Finding(
                "error", "bad-value", f"{describe(plan, key)}: it needs a GPU, and the job has none.", f"~{key}"
            )


def adapters(plan: Plan) -> Iterator[Finding]:
    """The share of a LoRA adapter's inputs that is left out."""
    key = "peft.dropout"
    value = _number(loader.value(plan.config, key))
    if value is not None and not 0 <= value <= 1:
        yield Finding("error", "bad-value", f"{describe(plan, key)} is no share, which is from 0 to 1.", f"{key}=0.0")


def _number(value: Any) -> float | None:
    """A number that float can hold; not NaN, of which checks/schema.py tells."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


CHECKS = (optimizer, weight_decay, counts, seeds, prefetch, processes, without_gpus, adapters)
