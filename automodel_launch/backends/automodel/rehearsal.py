"""What a rehearsal of an AutoModel job is made of (recipes/rehearse.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch.backends import Rehearsal
from automodel_launch.backends.automodel import references
from automodel_launch.config.dotted import left_to_the_job
from automodel_launch.plan.plan import Plan

# Where transformers and datasets look for what a hub id names.
_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")


# A part of the recipes that run AutoModel's recipe class from its set-up to its loop, and nothing else.
_RUNS_THE_CLASS = "pretrain_lib"


def of(plan: Plan) -> Rehearsal:
    """The script, and what its answer depends on beside the config."""
    named = (one.value for one in references.references(plan.config) if one.kind != "output")
    paths = tuple(dict.fromkeys(path for value in named for path in _paths(value)))
    known = _RUNS_THE_CLASS in plan.recipe.code
    return Rehearsal("rehearse.py", ("rehearse_lib",), "AutoModel", known, paths, _CACHES)


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("/") and not left_to_the_job(value):
            yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _paths(entry)
