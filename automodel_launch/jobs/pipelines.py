"""The record of every pipeline that was submitted from here: its steps as of its last launch, each a run or a sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automodel_launch.errors import JobError
from automodel_launch.jobs import records, sweeps
from automodel_launch.jobs.records import Record
from automodel_launch.plan import naming


@dataclass(frozen=True)
class PipelineStep:
    """One step: its name, what it needs, and its run's name, or its sweep's; `any_of`: sweeps among what it needs of
    which one point that has completed will do."""

    name: str
    needs: tuple[str, ...] = ()
    run_name: str | None = None
    sweep: str | None = None
    any_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """A pipeline; `submitted` is unix seconds, of the last launch. `again`: words of the command that goes on."""

    name: str
    steps: tuple[PipelineStep, ...]
    plan_hash: str
    submitted: float
    again: str

    @property
    def last(self) -> list[PipelineStep]:
        """The steps that no other one needs: when they have ended, it has."""
        needed = {name for step in self.steps for name in step.needs}
        return [step for step in self.steps if step.name not in needed]


def folder(jobs: Path) -> Path:
    """Where they lie, beside the folder of the jobs' records."""
    return jobs.parent / "pipelines"


def save(jobs: Path, pipeline: Pipeline) -> None:
    """Write the record; readers see the whole file or none.

    Raises:
        RecordError: it cannot be written.
    """
    records.keep(folder(jobs) / f"{pipeline.name}.json", asdict(pipeline), "the pipeline")


def find(jobs: Path, wanted: str | None) -> Pipeline | None:
    """The pipeline of that name; None where there is none, or where a run, a job or a sweep has the name."""
    if (
        not wanted
        or wanted in naming.RESERVED
        or "/" in wanted
        or "\0" in wanted
        or sweeps.exact(jobs, wanted) is not None
    ):
        return None
    found = _read(folder(jobs) / f"{wanted}.json")
    if found is None or any(wanted in (record.run_name, record.job_id) for record in records.all_records(jobs)):
        return None
    return found


def job(jobs: Path, wanted: str) -> Record:
    """The job that a name means which a user has given: as `records.find`, and a sweep's points too.

    Raises:
        JobError: there is none, or it is a whole pipeline or sweep.
    """
    pipeline = find(jobs, wanted)
    if pipeline is not None:
        steps = [f"{step.run_name or f'{step.sweep}.1'} ({step.name})" for step in pipeline.steps]
        raise JobError(f"{wanted} is a pipeline, and one job is meant here.", f"one of its steps: {', '.join(steps)}")
    return sweeps.job(jobs, wanted)


def runs_of(jobs: Path, step: PipelineStep) -> list[str]:
    """The names of a step's runs: its own, or those of its sweep's points."""
    sweep = sweeps.exact(jobs, step.sweep)
    return [point.run_name for point in sweep.points] if sweep else [step.run_name] if step.run_name else []


def names(jobs: Path) -> list[str]:
    """The names of all pipelines, in the order of their last launches."""
    return [found.name for found in _all(jobs)]


def of_runs(jobs: Path) -> dict[str, tuple[str, str]]:
    """Run name -> the pipeline and the step that it is of; of several the one that was launched last."""
    found: dict[str, tuple[str, str]] = {}
    for pipeline in _all(jobs):
        for step in pipeline.steps:
            found |= dict.fromkeys(runs_of(jobs, step), (pipeline.name, step.name))
    return found


def job_of(known: Sequence[Record], step: PipelineStep) -> Record | None:
    """The last job of a step's run."""
    return next((record for record in reversed(known) if record.run_name == step.run_name), None)


def _all(jobs: Path) -> list[Pipeline]:
    found = [pipeline for path in folder(jobs).glob("*.json") if (pipeline := _read(path))]
    return sorted(found, key=lambda pipeline: pipeline.submitted)


def _read(path: Path) -> Pipeline | None:
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _from_json(values: dict[str, Any]) -> Pipeline:
    """A later version's further keys are left out.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: a person, or another program, has written something else.
    """
    if not records.is_time(values["submitted"]):
        raise ValueError
    steps = tuple(map(_step, values["steps"]))
    words = (str(values[key]) for key in ("name", "plan_hash", "again"))
    name, plan_hash, again = words
    return Pipeline(name, steps, plan_hash, values["submitted"], again)


def _step(one: dict[str, Any]) -> PipelineStep:
    name, needs, any_of = str(one["name"]), _words(one["needs"]), _words(one.get("any_of"))
    return PipelineStep(name, needs, _word(one["run_name"]), _word(one["sweep"]), any_of)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value or ()))


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
