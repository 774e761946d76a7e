"""The experiment trackers that an AutoModel config has sections for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends import Config
from automodel_launch.backends.trackers import SILENT, Use
from automodel_launch.config import dotted

_WANDB, _MLFLOW = "wandb", "mlflow"


def used(config: Config) -> Iterator[Use]:
    """The section `wandb`, whose keys AutoModel gives to wandb.init, and the section `mlflow`."""
    if _WANDB in config:
        section = config[_WANDB]
        known = isinstance(section, Mapping) and not dotted.left_to_the_job(section)
        on = known and section.get("enable") is not False and section.get("mode") not in SILENT
        yield Use("wandb", _WANDB, online=on, offline=f"+{_WANDB}.mode=offline")
    if isinstance(config.get(_MLFLOW), Mapping) and config[_MLFLOW]:
        yield Use("mlflow", _MLFLOW)
