"""Runs that a name means together: the points of a sweep, the steps of a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.commands import one_sweep
from automodel_launch.jobs import pipelines, records, sweeps
from automodel_launch.jobs.pipelines import Pipeline
from automodel_launch.jobs.records import Record
from automodel_launch.jobs.sweeps import Sweep


@dataclass(frozen=True)
class Group(ABC):
    """A sweep or a pipeline; `folder` is where the jobs' records are."""

    folder: Path
    name: str

    @abstractmethod
    def jobs(self) -> list[Record | None]:
        """The last job of each run, as of now; None where there was none yet."""

    @abstractmethod
    def labels(self) -> dict[str, str]:
        """Run name -> what it is in the group."""


@dataclass(frozen=True)
class _Points(Group):
    sweep: Sweep

    def jobs(self) -> list[Record | None]:
        return sweeps.jobs_of(self.folder, self.sweep)

    def labels(self) -> dict[str, str]:
        return labels(self.sweep)


@dataclass(frozen=True)
class _Steps(Group):
    pipeline: Pipeline

    def jobs(self) -> list[Record | None]:
        last = {record.run_name: record for record in records.all_records(self.folder)}
        found: list[Record | None] = []
        for step in self.pipeline.steps:
            found += [last.get(name) for name in pipelines.runs_of(self.folder, step)] or [None]
        return found

    def labels(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for step in self.pipeline.steps:
            sweep = sweeps.exact(self.folder, step.sweep)
            found |= {run: f"{step.name}{words}" for run, words in labels(sweep).items()} if sweep else {}
            found |= {step.run_name: step.name} if step.run_name else {}
        return found


def find(folder: Path, word: str | None) -> Group | None:
    """The sweep or pipeline of that name; None where there is none, or where a run or a job has it."""
    sweep = sweeps.exact(folder, word)
    if sweep:
        return _Points(folder, sweep.name, sweep)
    pipeline = pipelines.find(folder, word)
    return _Steps(folder, pipeline.name, pipeline) if pipeline else None


def labels(sweep: Sweep) -> dict[str, str]:
    """A sweep's runs by what their points set, with the numbers by which a person names them."""
    found = {}
    keys = [key for key in sweep.keys if len({point.settings.get(key) for point in sweep.points}) > 1]
    for number, point in enumerate(sweep.points, 1):
        values = one_sweep.settings(point.settings, keys)
        words = [f"{key}={value}" for key, value in zip(one_sweep.short(keys), values, strict=True) if value]
        found[point.run_name] = " ".join([f".{number}", *words])
    return found
