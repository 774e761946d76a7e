"""The course of a training in numbers: steps, batches, sequence length."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends import Config
from automodel_launch.backends.megatron_bridge import keys, settings
from automodel_launch.backends.megatron_bridge.settings import Settings


def iterations(config: Config) -> int | None:
    """Optimizer steps of the complete run: train_iters, or train_samples by the global batch."""
    known = settings.of(config)
    samples, batch = known.number(keys.SAMPLES), known.number(keys.GLOBAL_BATCH)
    if samples is not None and samples > 0:
        return samples // batch if batch and batch > 0 else None
    return known.number(keys.ITERS)


def length(known: Settings) -> tuple[str, int] | None:
    """(key, tokens) of a sequence. Model and data have one length: recipes/bridge_lib gives one what the other has."""
    for key in (keys.MODEL_LENGTH, keys.DATA_LENGTH, keys.DATA_LENGTH_TOO):
        if known.written(key):
            found = known.number(key)
            return (key, found) if found is not None else None
    found = known.number(keys.MODEL_LENGTH)
    return (keys.MODEL_LENGTH, found) if found is not None else None


def tokens_per_step(config: Config) -> int | None:
    """Tokens of a global batch."""
    known = settings.of(config)
    batch, sequence = known.number(keys.GLOBAL_BATCH), length(known)
    return batch * sequence[1] if batch and sequence else None


def schedule_after(begun: Config, now: Config) -> Iterator[str]:
    """What a longer training does to the learning rate (OptimizerParamScheduler, Megatron-Bridge 0.3.1)."""
    own, known = keys.OWN_SCHEDULE, settings.of(now)
    if known.value(own) is True:
        end = known.number(keys.DECAY) or iterations(now)
        yield f"the learning rate follows this config's schedule from its checkpoint on, which ends at step {end}"
    elif known.value(keys.KEPT_SCHEDULE) is True:
        end = settings.of(begun).number(keys.DECAY) or iterations(begun)
        yield f"the learning rate keeps the schedule in the run's checkpoints, which ends at step {end}"
    elif known.complete:
        yield f"Megatron-Bridge refuses checkpoints of another length unless {own}=true, or {keys.KEPT_SCHEDULE}=true"
