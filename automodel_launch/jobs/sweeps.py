"""The record of every sweep that was submitted from here: which runs are its points, and what differs between them."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from automodel_launch.errors import JobError, UsageError
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

    @property
    def numbers(self) -> dict[str, int]:
        """Each point's number, from 1 on, by its run's name."""
        return {point.run_name: number for number, point in enumerate(self.points, 1)}


def folder(jobs: Path) -> Path:
    """Where they lie, beside the folder of the jobs' records."""
    return jobs.parent / "sweeps"


def save(jobs: Path, sweep: Sweep) -> None:
    """Write the record; readers see the whole file or none.

    Raises:
        RecordError: it cannot be written.
    """
    records.keep(folder(jobs) / f"{sweep.name}.json", asdict(sweep), "the sweep")


@contextlib.contextmanager
def alone(jobs: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Until the end of the block no other launcher here submits points of that sweep: each has to count the other's.

    Ends with its process, however that ends. Where the folder takes no lock, nobody is kept out.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder(jobs).mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder(jobs) / f"{name}.lock").open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another launcher submits points of {name}; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def exact(jobs: Path, name: str | None) -> Sweep | None:
    """The sweep of that name; None where there is none, or where the name can be none."""
    return _read(folder(jobs) / f"{name}.json") if name and "/" not in name and "\0" not in name else None


def refuse_run(jobs: Path, name: str | None) -> None:
    """A run's name that a user gives is none of a sweep's: commands would take the one for the other.

    Raises:
        UsageError: it is one.
    """
    if exact(jobs, name) is not None:
        raise UsageError(f"--name {name}: a sweep has this name. Nothing was submitted.", f"--name {name}-run")


def find(jobs: Path, wanted: str | None) -> Sweep | None:
    """The sweep of that name, or of that unique beginning where nothing of a job begins so."""
    found = exact(jobs, wanted)
    if found or not wanted:
        return found
    with contextlib.suppress(JobError):
        records.find(jobs, wanted)
        return None
    names = [path.stem for path in folder(jobs).glob("*.json") if path.stem.startswith(wanted)]
    return exact(jobs, names[0]) if len(names) == 1 else None


def point(jobs: Path, wanted: str) -> Record | None:
    """The last job of the point that `SWEEP.3` names, its third; None where that names something else.

    Raises:
        JobError: the sweep has no such point, or no job of it.
    """
    name, _, number = wanted.rpartition(".")
    sweep = exact(jobs, name) if number.isascii() and number.isdecimal() else None
    if sweep is None or (jobs / f"{wanted}.json").exists():
        return None
    if not 1 <= int(number) <= len(sweep.points):
        raise JobError(
            f"sweep {name} has no point {number}: they are 1 to {len(sweep.points)}.", f"python launch.py status {name}"
        )
    record = jobs_of(jobs, sweep)[int(number) - 1]
    if record is None:
        raise JobError(
            f"{wanted}: no job of it was submitted from here.", "the sweep's own command again submits what is missing"
        )
    return record


def job(jobs: Path, wanted: str) -> Record:
    """The job that a name means which a user has given: as `records.find`, and a sweep's points too.

    Raises:
        JobError: there is none, or it is a whole sweep.
    """
    sweep = exact(jobs, wanted)
    if sweep is not None:
        points = f"{wanted}.1 to {wanted}.{len(sweep.points)}"
        raise JobError(f"{wanted} is a sweep, and one job is meant here.", f"one of its points: {points}")
    return point(jobs, wanted) or records.find(jobs, wanted)


def names(jobs: Path) -> list[str]:
    """The names of all sweeps, in the order of their last submissions."""
    found = [sweep for path in folder(jobs).glob("*.json") if (sweep := _read(path))]
    return [sweep.name for sweep in sorted(found, key=lambda sweep: sweep.submitted)]


def grown(former: Sweep | None, sweep: Sweep) -> Sweep:
    """The sweep with the points of a former launch of its name before its own: they keep their numbers."""
    if former is None:
        return sweep
    own = {point.run_name: point for point in sweep.points}
    points = {point.run_name: own.get(point.run_name, point) for point in former.points}
    return replace(sweep, points=tuple({**points, **own}.values()))


def jobs_of(jobs: Path, sweep: Sweep) -> list[Record | None]:
    """The last job of each point's run, None where there was none."""
    last: dict[str, Record] = {record.run_name: record for record in records.all_records(jobs)}
    return [last.get(point.run_name) for point in sweep.points]


def _read(path: Path) -> Sweep | None:
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _from_json(values: dict[str, Any]) -> Sweep:
    """A later version's further keys are left out.

    Raises:
        TypeError, KeyError, AttributeError: a person, or another program, has written something else.
    """
    if not records.is_time(values["submitted"]):
        raise ValueError
    points = tuple(
        SweepPoint(str(one["label"]), str(one["run_name"]), {str(k): str(v) for k, v in one["settings"].items()})
        for one in values["points"]
    )
    own = {field.name: values[field.name] for field in fields(Sweep) if field.name in values}
    return Sweep(**{**own, "points": points})
