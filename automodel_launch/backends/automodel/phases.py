"""`dataset.phases` as the launcher sees it: which data a config names in them, and the steps at which they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import loader
from automodel_launch.backends.automodel.data_phases import KEY, LENGTHS, Phase, PhaseError, read
from automodel_launch.backends.automodel.keys import GLOBAL_BATCH, MAX_STEPS
from automodel_launch.config import dotted

_SEQUENCE, _LENGTH = "dataset.seq_length", 2048  # MegatronPretraining's default


def are_given(config: Mapping[str, Any]) -> bool:
    """The config has the key, whatever it holds."""
    return dotted.get(config, KEY) is not None


def paths(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of the data of each phase, in their order."""
    phases = dotted.get(config, KEY)
    for name, phase in phases.items() if isinstance(phases, Mapping) else ():
        if isinstance(phase, Mapping) and phase.get("paths"):
            yield f"{KEY}.{name}.paths", phase["paths"]


def planned(config: Mapping[str, Any]) -> list[Phase]:
    """The phases with their steps; none where there are none, or a value is not known here.

    Raises:
        PhaseError: they cannot be used.
    """
    steps, tokens = loader.value(config, MAX_STEPS), step_tokens(config)
    if not are_given(config) or tokens is None or dotted.left_to_the_job([steps, _lengths(config)]):
        return []
    return read(dotted.get(config, KEY), steps, tokens)


def known(config: Mapping[str, Any]) -> list[Phase]:
    """The same; none also where they cannot be used, which checks/phases.py reports."""
    try:
        return planned(config)
    except PhaseError:
        return []


def _lengths(config: Mapping[str, Any]) -> list[Any]:
    phases = dotted.get(config, KEY)
    each = phases.values() if isinstance(phases, Mapping) else ()
    return [phase.get(leaf) for phase in each if isinstance(phase, Mapping) for leaf in LENGTHS]


def first_steps(config: Mapping[str, Any]) -> dict[str, int]:
    """The key of each phase's data, and its first step."""
    return {f"{KEY}.{phase.name}.paths": phase.first for phase in known(config)}


def step_tokens(config: Mapping[str, Any]) -> int | None:
    """Tokens of a step, as the job computes them."""
    batch, length = loader.value(config, GLOBAL_BATCH), loader.value(config, _SEQUENCE)
    numbers = [1 if batch is None else batch, _LENGTH if length is None else length]
    if any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in numbers):
        return None
    return int(numbers[0] * numbers[1])
