"""What a profile says of a training that a job which stands alone has no use for, such as a check or an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.profile.schema import Executor, Profile, keys_of

_KEYS = ("on_checkpoint", "until", "chain", "max_gpu_hours", "dependency", "rank_times", "spares", "notify", "track")
EVALUATION = "an evaluation's own"  # where a plan has its size from, in place of the profile's


def reset(executor: Executor) -> dict[str, Any]:
    """These keys, as far as the executor has them, with the schema's defaults, as env.toml has values."""
    defaults = {key: Profile.model_fields[key].default for key in _KEYS if key in keys_of(executor)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def size_of_evaluation(nodes: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """The keys by which an evaluation on so many nodes, without spares, differs from what a training's profile says."""
    return {key: value for key, value in {"nodes": nodes, "spares": 0}.items() if said.get(key, value) != value}
