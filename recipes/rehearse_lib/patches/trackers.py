"""Experiment trackers: configured as in the job, and never started."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from .. import result
from ..failure import Fault

if TYPE_CHECKING:
    from ..stages import Run

_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow", "comet": "comet_ml"}


class NotStarted:
    """In place of a run: it takes whatever it is told."""

    url = "not started"

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def apply(run: Run) -> None:
    """Have no run begin; what AutoModel makes of each section is made, so that a wrong key is found."""
    # AutoModel 0.7.0, train_ft.py:597: build() calls wandb.init, which starts a process and a run.
    for name, package in _PACKAGES.items():
        section = getattr(run.recipe.cfg, name, None)
        if section is None:
            continue
        if importlib.util.find_spec(package) is None:
            text = f"the configuration has a section {name}, and the package {package} is not installed"
            if run.request.job_python:
                raise Fault("ModuleNotFoundError", text, name)
            run.notes.append(result.partial(result.PACKAGE, f"this Python is not the job's: {text}", package))
        type(section).build = lambda self, **kwargs: NotStarted()
