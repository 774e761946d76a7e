"""Experiment trackers, and what keeps one run of theirs over all attempts of a run of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

TRACK = "track"  # of a profile: who is told of the launcher's own metrics
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboard"}  # of each, for `import` and for pip
SILENT = ("offline", "disabled", "dryrun")  # wandb.init's modes that ask for no key


@dataclass(frozen=True)
class Use:
    """A tracker that a training logs to.

    Attributes:
        online: over the network, which needs credentials.
        offline: the override with which it asks for none.
    """

    tracker: Literal["wandb", "mlflow"]
    key: str  # of the section in the config
    online: bool = False
    offline: str = "run.env.env_vars.WANDB_MODE=offline"


def named(track: Iterable[str]) -> Iterator[Use]:
    """Those of the profile's `track` that want variables."""
    names = {each.partition(":")[0] for each in track}
    if "wandb" in names:
        yield Use("wandb", TRACK, online=True)
    if "mlflow" in names:
        yield Use("mlflow", TRACK)


def environment(
    uses: Iterable[Use], run_name: str, run_dir: str, place: str, given: Collection[str] = ()
) -> dict[str, str]:
    """Variables of a job with which all jobs of a run continue one run of the tracker, and its files lie in `run_dir`.

    `place` tells apart two runs of the same name in different places, such as two checkouts; `given` are variables that
    the job has from elsewhere, which say where files go.
    """
    values: dict[str, str] = {}
    for use in uses:
        if use.tracker in _RUNS:
            values.update(_RUNS[use.tracker](run_name, place))
        values.update({name: text for name, text in _PLACES[use.tracker](run_dir).items() if name not in given})
    return values


def _wandb(run_name: str, place: str) -> dict[str, str]:
    """wandb.init takes these where its arguments do not say otherwise. An id has at most 64 characters."""
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return {"WANDB_RUN_ID": f"{run_name[:50]}-{digest}", "WANDB_RESUME": "allow"}


def _wandbs_place(run_dir: str) -> dict[str, str]:
    """It makes wandb/ there; without it, in the working directory, which is the job's code."""
    return {"WANDB_DIR": run_dir}


def _mlflows_place(run_dir: str) -> dict[str, str]:
    """Where no `tracking_uri` is given. The second is read by MLflow 3.17 for a database without a server; its default
    is mlruns/ in the working directory."""
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{run_dir}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{run_dir}/mlartifacts",
    }


# AutoModel keeps the id of MLflow's run beside the checkpoints (loggers.py, `mlflow_run_id`), and continues it.
_RUNS = {"wandb": _wandb}
_PLACES = {"wandb": _wandbs_place, "mlflow": _mlflows_place}
