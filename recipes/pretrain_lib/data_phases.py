"""`dataset.phases`: data that change in the course of a run, and the steps at which they do.

    dataset:
      phases:                                              # in this order, in place of `paths`
        web: {tokens: 900B, paths: /data/web/blend.json}   # or `steps: 4000`, or `share: 0.9` of the run
        anneal: {paths: /data/better/blend.json}           # the last one may leave its length out: the rest

`paths` is what MegatronPretraining takes. A phase ends with the whole step that is nearest to the sum of the lengths up
to it, so that roundings do not add up. Asked here by the job and by the launcher, which has a link to this file; it
needs the standard library alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

KEY = "dataset.phases"
LENGTHS = ("tokens", "steps", "share")
_KNOWN = ("paths", *LENGTHS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NUMBER = re.compile(r"(\d+(?:\.\d*)?(?:[eE]\+?\d{1,2})?)\s*([KMBT]?)")
_UNITS = {"": 0, "K": 3, "M": 6, "B": 9, "T": 12}


class PhaseError(Exception):
    """The phases cannot be used: `key` is where, `message` says why, `fix` what to type."""

    def __init__(self, key: str, message: str, fix: str) -> None:
        super().__init__(f"{key}: {message} ({fix})")
        self.key, self.message, self.fix = key, message, fix


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `last`, counted from 0, are taken on the data that `paths` names."""

    name: str
    first: int
    steps: int
    paths: Any

    @property
    def last(self) -> int:
        """Its last step."""
        return self.first + self.steps - 1


def read(phases: Any, max_steps: Any, step_tokens: int) -> list[Phase]:
    """The phases of a run of `max_steps` steps of `step_tokens` tokens each.

    Raises:
        PhaseError: they are of another form, or not as long as the run.
    """
    if not isinstance(phases, Mapping) or not phases:
        fix = "phases: {web: {tokens: 900B, paths: ...}, anneal: {paths: ...}}"
        raise PhaseError(KEY, "it must be a mapping of names to phases", fix)
    if not _is_count(max_steps) or max_steps < 1:
        raise PhaseError(KEY, "phases need a run whose number of steps is given", "step_scheduler.max_steps=STEPS")
    found: list[Phase] = []
    exact = Fraction(0)
    for number, (name, phase) in enumerate(phases.items()):
        key = f"{KEY}.{name}"
        length = _length(key, name, phase, max_steps, step_tokens, is_last=number == len(phases) - 1)
        begun = found[-1].first + found[-1].steps if found else 0
        exact = Fraction(max_steps) if length is None else exact + length
        end = math.floor(exact + Fraction(1, 2))
        if end <= begun:
            longer = "make it longer" if length is not None else f"step_scheduler.max_steps above {begun}"
            fix = f"{longer}, or leave it out"
            raise PhaseError(key, _too_short(length, begun, step_tokens), fix)
        found.append(Phase(str(name), begun, end - begun, phase["paths"]))
    end = found[-1].first + found[-1].steps
    if end != max_steps:
        message = f"the phases have {end:,} steps in all, and step_scheduler.max_steps is {max_steps:,}"
        rest = f"leave out the length of the last one, {found[-1].name}, which then takes the rest"
        if found[-1].first >= max_steps:
            rest = f"leave out {found[-1].name}, which the run does not reach"
        raise PhaseError(KEY, message, f"step_scheduler.max_steps={end}; or {rest}")
    return found


def told(phases: list[Phase]) -> str:
    """In a line: `web: steps 0 to 899, anneal: steps 900 to 999`."""
    return ", ".join(f"{phase.name}: steps {phase.first:,} to {phase.last:,}" for phase in phases)


def _length(key: str, name: Any, phase: Any, max_steps: int, step_tokens: int, *, is_last: bool) -> Fraction | None:
    """Steps of a phase, not rounded; None where it takes the rest."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PhaseError(key, "a phase's name has letters, digits, '-' and '_'", "another name")
    if not isinstance(phase, Mapping):
        raise PhaseError(key, "a phase is a mapping", f"{name}: {{tokens: 900B, paths: ...}}")
    unknown = [str(one) for one in phase if one not in _KNOWN]
    if unknown:
        raise PhaseError(f"{key}.{unknown[0]}", "a phase has no such key", f"known: {', '.join(_KNOWN)}")
    if not phase.get("paths"):
        raise PhaseError(key, "it names no data", f"{key}.paths=/data/blend.json")
    given = [one for one in LENGTHS if phase.get(one) is not None]
    if len(given) > 1 or (not given and not is_last):
        what = f"it has {' and '.join(given)}" if given else "it has no length, which only the last one may leave out"
        raise PhaseError(key, what, f"one of {', '.join(LENGTHS)}")
    if not given:
        return None
    leaf = given[0]
    value = _number(f"{key}.{leaf}", phase[leaf])
    if leaf == "steps" and value.denominator != 1:
        raise PhaseError(f"{key}.steps", f"{phase[leaf]!r} is not a whole number", f"{key}.steps={round(value)}")
    if leaf == "share" and value > 1:
        raise PhaseError(f"{key}.share", f"{phase[leaf]!r} is more than the run", f"{key}.share=0.9")
    return value / step_tokens if leaf == "tokens" else value * max_steps if leaf == "share" else value


def _number(key: str, value: Any) -> Fraction:
    match = _NUMBER.fullmatch(str(value).strip().replace("_", "").replace(",", ""))
    if isinstance(value, bool) or match is None or not Fraction(match[1]):
        raise PhaseError(
            key, f"{value!r} is not a number above 0", f"{key}=0.9" if key.endswith("share") else f"{key}=900M"
        )
    return Fraction(match[1]) * int(f"1{'0' * _UNITS[match[2]]}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _too_short(length: Fraction | None, begun: int, step_tokens: int) -> str:
    if length is None:
        return f"the phases before it have {begun:,} steps already, and none is left for it"
    return f"it is shorter than half a step, and a step has {step_tokens:,} tokens"
