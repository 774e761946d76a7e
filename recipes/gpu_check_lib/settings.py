"""The resolved YAML file -> Settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]


class SettingsError(Exception):
    """The file cannot be read, or a key of it is missing or wrong."""


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long at most; configs/gpu-check/default.yaml describes the keys.

    Keys that only the judge reads (`min_...`, `max_...`) are not here.
    """

    ranks: int
    paths: tuple[dict[str, Any], ...]
    megabytes: int
    cpu_megabytes: int
    iterations: int
    load_s: float
    paths_s: float
    smi_s: float
    node_s: float
    meet_s: float
    pair_s: float
    total_s: float


def load(path: Path) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: see there.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from None
    return of(data, str(path))


def of(data: Any, where: str) -> Settings:
    """The settings in a mapping.

    Raises:
        SettingsError: see there.
    """
    if not isinstance(data, dict):
        raise SettingsError(f"{where}: not a mapping.")
    known = {key: data[key] for key in (field.name for field in fields(Settings)) if key in data}
    missing = sorted({field.name for field in fields(Settings)} - set(known))
    if missing:
        raise SettingsError(f"{where}: {', '.join(missing)} missing; see configs/gpu-check/default.yaml.")
    paths = known.pop("paths")
    wrong = [key for key, value in known.items() if not _is_positive(value)]
    if wrong:
        raise SettingsError(f"{where}: {wrong[0]} = {known[wrong[0]]!r}: expected a number above 0.")
    if not isinstance(paths, list) or not all(isinstance(entry, dict) and "path" in entry for entry in paths):
        raise SettingsError(f"{where}: paths: expected a list of {{path: STRING, write: true or false}}.")
    return Settings(paths=tuple(paths), **known)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
