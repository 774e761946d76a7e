"""The record of every sweep that was submitted from here: which runs are its points, and what differs between them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automodel_launch.errors import RecordError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record


@dataclass(frozen=True)
class SweepPoint:
    """One point: its name, its run, and what it sets."""

    label: str
    run_name: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Sweep:
    """A sweep; `submitted` is unix seconds, of the last submission."""

    name: str
    points: tuple[SweepPoint, ...]
    plan_hash: str
    submitted: float
    profile: str
    executor: str
    at_most: int | None = None

    @property
    def keys(self) -> list[str]:
        """What differs between the points."""
        return list(dict.fromkeys(key for point in self.points for key in point.settings))


def folder(jobs: Path) -> Path:
    """Where they lie, beside the folder of the jobs' records."""
    return jobs.parent / "sweeps"


def save(jobs: Path, sweep: Sweep) -> None:
    """Write the record; readers see the whole file or none.

    Raises:
        RecordError: it cannot be written.
    """
    target = folder(jobs) / f"{sweep.name}.json"
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(sweep), indent=1) + "\n", encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise RecordError(f"{target}: the sweep's record cannot be written: {error.strerror}.") from error


def find(jobs: Path, name: str | None) -> Sweep | None:
    """The sweep of that name, or of that unique beginning; None where there is none."""
    if not name:
        return None
    found = [path for path in folder(jobs).glob("*.json") if path.stem.startswith(name)]
    exact = [path for path in found if path.stem == name]
    chosen = exact or (found if len(found) == 1 else [])
    return _read(chosen[0]) if chosen else None


def names(jobs: Path) -> list[str]:
    """The names of all sweeps."""
    return sorted(path.stem for path in folder(jobs).glob("*.json"))


def jobs_of(jobs: Path, sweep: Sweep) -> list[Record | None]:
    """The last job of each point's run, None where there was none."""
    last: dict[str, Record] = {record.run_name: record for record in records.all_records(jobs)}
    return [last.get(point.run_name) for point in sweep.points]


def _read(path: Path) -> Sweep | None:
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _from_json(values: dict[str, Any]) -> Sweep:
    points = tuple(SweepPoint(**point) for point in values.pop("points"))
    return Sweep(points=points, **values)
