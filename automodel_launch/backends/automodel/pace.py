"""How long a run is, and how often it saves, validates and logs: what of a config is not what is learnt."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends import Config, Pace
from automodel_launch.backends.automodel import datasets, lr_scheduler, phases, step_scheduler
from automodel_launch.backends.automodel.keys import CADENCE, MAX_STEPS, NUM_EPOCHS, OWN_SCHEDULE, TRAIN_SAMPLES
from automodel_launch.config.dotted import get

_LENGTH = (MAX_STEPS, NUM_EPOCHS)


def of(config: Config) -> Pace:
    """MegatronPretraining (0.7.0) shuffles as many epochs as num_train_samples needs, by default those of max_steps."""
    if phases.are_given(config):  # the order is that of each prefix, whatever the length
        return Pace((*_LENGTH, *CADENCE))
    megatron = any(datasets.MEGATRON_DATASET in kind for key, kind, _ in datasets.datasets(config) if key == "dataset")
    if megatron and get(config, TRAIN_SAMPLES) is None:
        return Pace(CADENCE, _LENGTH, f"{TRAIN_SAMPLES} = the samples of the longest run, from the first launch on")
    return Pace((*_LENGTH, *CADENCE))


def longer(begun: Config, now: Config) -> Iterator[str]:
    """OptimizerParamScheduler (0.7.0) takes its schedule from the checkpoint, unless it is told not to."""
    own = get(now, OWN_SCHEDULE) is True
    schedule, steps = lr_scheduler.schedule(now if own else begun), step_scheduler.max_steps(now)
    if schedule is None or schedule.decay is None or steps == step_scheduler.max_steps(begun):
        return
    if own:
        end = schedule.decay
        yield f"the learning rate follows this config's schedule from its checkpoint on, which ends at step {end}"
    elif steps is not None and steps > schedule.decay:
        least = "min_lr" if schedule.min_lr is None else f"min_lr = {schedule.min_lr:g}"
        yield (
            f"the learning rate follows the schedule in the run's checkpoints, which ends at step {schedule.decay}:"
            f" steps after that are taken at {least}"
        )
    else:
        yield f"the learning rate keeps the schedule in the run's checkpoints, which ends at step {schedule.decay}"
