"""A step of a pipeline that is a sweep: the sections of --sweep-file, its limits, and which point is the best.

    sweep:
      grid: {optimizer.lr: [1e-4, 3e-4]}
      at_most: 2
      stop_after_failures: 1
      best: {lowest: val_loss}      # or a metric alone; without it as `compare` sorts

A step behind it may go on with those points that have completed: `needs: {STEP: any}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.config import sweeps
from automodel_launch.config.sweeps import PointSpec
from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.suggest import did_you_mean

ALL, ANY = "all", "any"
BEST = "best"  # ${steps.NAME.best.FIELD}
DIRECTIONS = ("lowest", "highest")
_KEYS = (*sweeps.SECTIONS, "at_most", "stop_after_failures", "best")


@dataclass(frozen=True)
class Swept:
    """What a step varies. `metric` None: val_loss, else loss; `highest` None: as `compare` sorts that metric."""

    points: tuple[PointSpec, ...]
    at_most: int | None = None
    stop_after: int | None = None
    metric: str | None = None
    highest: bool | None = None


def read(raw: Any, where: str) -> Swept:
    """The value of a step's `sweep`.

    Raises:
        ConfigError: it is none.
    """
    where = f"{where}: sweep"
    if not isinstance(raw, dict) or not raw:
        raise ConfigError(f"{where}: a mapping, not {raw!r}.", "sweep: {grid: {optimizer.lr: [1e-4, 3e-4]}}")
    for key in raw:
        if key not in _KEYS:
            guess = did_you_mean(str(key), _KEYS)
            raise ConfigError(f"{where}: {key!r} is no key of a sweep.{guess}", f"a sweep takes {', '.join(_KEYS)}")
    sections = {key: value for key, value in raw.items() if key in sweeps.SECTIONS}
    try:
        points = sweeps.points_of(sections, where)
    except UsageError as error:
        raise ConfigError(f"{where}: {error.message}", error.hint) from error
    at_most, stop_after = (_count(raw.get(key), f"{where}: {key}") for key in ("at_most", "stop_after_failures"))
    metric, highest = _best(raw.get("best"), f"{where}: best")
    return Swept(tuple(points), at_most, stop_after, metric, highest)


def _count(value: Any, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(f"{where}: a number from 1 on, not {value!r}.")


def _best(value: Any, where: str) -> tuple[str | None, bool | None]:
    if value is None or (isinstance(value, str) and value):
        return value, None
    if isinstance(value, Mapping) and len(value) == 1:
        ((direction, metric),) = value.items()
        if direction in DIRECTIONS and isinstance(metric, str) and metric:
            return metric, direction == "highest"
    raise ConfigError(
        f"{where}: a metric, or which of its values is the best, not {value!r}.", "best: {lowest: val_loss}"
    )


def needs(raw: Any, where: str) -> tuple[list[str], list[str]]:
    """A step's `needs`: all of them, and those sweeps of which any point that has completed will do.

    Raises:
        ConfigError: it names no steps.
    """
    found = {raw: ALL} if isinstance(raw, str) else dict.fromkeys(raw, ALL) if _is_names(raw) else raw or {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigError(
            f"{where}: needs: the name of a step, or a list of them, not {raw!r}.", "needs: [data, train]"
        )
    for name, how in found.items():
        if how not in (ALL, ANY):
            message = f"{where}: needs: {name}: {how!r} is neither '{ALL}' nor '{ANY}'."
            raise ConfigError(
                message, f"{ANY}: of the points of a sweep those that have completed; {ALL}: without failures"
            )
    return list(found), [name for name, how in found.items() if how == ANY]


def _is_names(raw: Any) -> bool:
    return isinstance(raw, list) and all(isinstance(one, str) for one in raw)
