"""The experiment trackers of the section `logger`."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends import Config, Need
from automodel_launch.backends.trackers import Use
from automodel_launch.config import dotted

_PROJECT, _NAME = "logger.wandb_project", "logger.wandb_exp_name"
_EXPERIMENT = "logger.mlflow_experiment"


def used(config: Config) -> Iterator[Use]:
    """Weights & Biases and MLflow, where a project or an experiment is named (megatron/bridge/training/state.py)."""
    project = dotted.get(config, _PROJECT)
    if project:
        yield Use("wandb", _PROJECT, online=not dotted.left_to_the_job(project))
    if dotted.get(config, _EXPERIMENT):
        yield Use("mlflow", _EXPERIMENT)


def packages(config: Config) -> Iterator[Need]:
    """wandb: the wheel of 0.3.1 requires it, and an installation without dependencies (--no-deps) has none. mlflow: its
    configuration is refused without it."""
    if dotted.get(config, _PROJECT):
        yield Need("wandb", _PROJECT, "wandb")
    if dotted.get(config, _EXPERIMENT):
        yield Need("mlflow", _EXPERIMENT, "mlflow")
