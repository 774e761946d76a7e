"""Experiment trackers, and what keeps one run of theirs over all attempts of a run of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SILENT = ("offline", "disabled", "dryrun")  # wandb.init's modes that ask for no key


@dataclass(frozen=True)
class Use:
    """A tracker that a training logs to.

    Attributes:
        online: over the network, which needs credentials.
        offline: the override with which it asks for none.
    """

    tracker: Literal["wandb"]
    key: str  # of the section in the config
    online: bool = False
    offline: str = "run.env.env_vars.WANDB_MODE=offline"


def environment(uses: Iterable[Use], run_name: str, place: str) -> dict[str, str]:
    """Variables of a job with which all jobs of a run continue one run of the tracker.

    `place` tells apart two runs of the same name in different places, such as two checkouts.
    """
    values: dict[str, str] = {}
    for use in uses:
        values.update(_VARIABLES[use.tracker](run_name, place))
    return values


def _wandb(run_name: str, place: str) -> dict[str, str]:
    """wandb.init takes these where its arguments do not say otherwise. An id has at most 64 characters."""
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return {"WANDB_RUN_ID": f"{run_name[:50]}-{digest}", "WANDB_RESUME": "allow"}


_VARIABLES = {"wandb": _wandb}
