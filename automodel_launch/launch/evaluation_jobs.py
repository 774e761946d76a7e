"""Evaluations that a training's batch script has submitted (`on_checkpoint`): each gets a record when somebody looks.

With one it is a job as any other: `jobs` lists it, `status`, `logs`, `attach` and `cancel` know it, and `prune` keeps
the checkpoint that it needs. Beside the checkpoints a marker tells of each (contract.EVALUATION_JOB_KEYS); a training's
handle says where these lie.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError
from automodel_launch.jobs import records
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.remote import filesystem
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.remote.shell import AT_ONCE

EVERY_S = 30.0
"""Between two looks of somebody who watches: a batch script looks at its checkpoints every 15 s."""
RECIPE = "evaluate"
_ASK_S = 120.0
_ALL = "evaluations_known"  # in the `end` of a training's record: it was looked at when no further one could come
_FOLDER, _END = "\x01", "\x02"  # before a folder's path, and behind each file


@dataclass(frozen=True)
class Marker:
    """What was written of a checkpoint's job, or of why it has none; `step` as in the checkpoint's name."""

    step: int
    told: dict[str, Any]

    @property
    def submitted(self) -> bool:
        """Slurm has given it an id."""
        job_dir, slurm_id = self.told.get("job_dir"), self.told.get("slurm_id")
        named = isinstance(job_dir, str) and job_dir.startswith("/") and not job_dir.endswith("/")
        return named and isinstance(slurm_id, str) and slurm_id.isdecimal() and records.is_time(self.told.get("time"))


@dataclass(frozen=True)
class Evaluations:
    """A run's: those that have a job, oldest first, with their states; and (step, why) of those that got none."""

    jobs: list[tuple[Record, Status]]
    refused: list[tuple[int, str]]

    @property
    def underway(self) -> list[tuple[Record, Status]]:
        """Those that wait, run, or whose state cannot be told."""
        return [(record, status) for record, status in self.jobs if not status.over and not status.forgotten]


def adopt(folder: Path, jobs: Iterable[Record]) -> list[Record]:
    """Make records of the evaluations of these jobs' runs; one round trip for each place. One that does not answer is
    left out: the states of its own jobs tell that. Returned are those that had none."""
    by_place: dict[FileSystem, list[Record]] = {}
    for record in _last_of_each(jobs):
        by_place.setdefault(executors.get(record.executor).place_of(record), []).append(record)
    if not by_place:
        return []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [made for place in pool.map(lambda item: _adopt(folder, *item), by_place.items()) for made in place]


def adopt_named(folder: Path, wanted: str) -> None:
    """Where no job is known by that word, and it may be the id or the Slurm id of an evaluation: look for it."""
    known = records.all_records(folder)
    if any(wanted in (one.job_id, one.run_name, str(one.handle.get("slurm_id"))) for one in known):
        return
    adopt(folder, [one for one in known if wanted.isdecimal() or wanted.startswith(f"{one.run_name}-")])


def of(folder: Path, record: Record) -> Evaluations:
    """Those of a job's run, each asked for its state; none that is new where its place does not answer."""
    of_run = [one for one in records.all_records(folder) if one.run_dir == record.run_dir and _has_them(one)]
    if not of_run:
        return Evaluations([], [])
    record = of_run[-1]
    try:
        markers = _read(executors.get(record.executor).place_of(record), [record])[record.run_dir]
    except ClusterError:
        markers = []
    _add(folder, record, markers)
    own = [one for one in records.all_records(folder) if one.beside == record.run_name]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(lambda one: state.look(folder, one), own))
    without = (one for one in markers if not one.submitted)
    why = [(one.step, str(one.told.get("error") or "its submission was cut short")) for one in without]
    return Evaluations(seen, why)


def step_of(record: Record) -> str:
    """The step, as in its name, of the checkpoint that a job evaluates which has a record by `adopt`."""
    return "".join(record.typed[-1:]).rpartition(":")[2] or "?"


def _has_them(record: Record) -> bool:
    return isinstance(record.handle.get(contract.EVALUATIONS), str)


def _last_of_each(jobs: Iterable[Record]) -> list[Record]:
    """Of each run the last job, unless it is known that none can have come."""
    last = {record.run_dir: record for record in jobs if _has_them(record) and state.lacks(record) is None}
    return [record for record in last.values() if not (record.final and (record.end or {}).get(_ALL))]


def _adopt(folder: Path, place: FileSystem, jobs: list[Record]) -> list[Record]:
    try:
        found = _read(place, jobs)
    except ClusterError:
        return []
    made = []
    for record in jobs:
        made += _add(folder, record, found[record.run_dir])
        if record.final:
            known = {**(record.end or {}), _ALL: True}
            _quietly_change(folder, record, known)
    return made


def _quietly_change(folder: Path, record: Record, end: dict[str, Any]) -> None:
    try:
        records.change(folder, record, lambda now: replace(now, end=end) if now == record else now)
    except LaunchError:  # the next look asks once more
        return


def _add(folder: Path, record: Record, markers: Iterable[Marker]) -> list[Record]:
    new = []
    for marker in markers:
        if marker.submitted:
            made = _record(record, marker)
            if not (folder / f"{made.job_id}.json").exists():
                try:
                    records.add(folder, made)
                except LaunchError:  # a full disk here: the job is as it is
                    break
                new.append(made)
    return new


def _record(record: Record, marker: Marker) -> Record:
    job_dir = str(marker.told["job_dir"])
    run_dir = job_dir.rpartition(".")[0] or job_dir
    way = {key: record.handle.get(key) for key in (*executors.get(record.executor).way, "stop_grace")}
    return replace(
        record,
        job_id=posixpath.basename(job_dir),
        run_name=posixpath.basename(run_dir),
        recipe=RECIPE,
        mode="batch",
        job_dir=job_dir,
        run_dir=run_dir,
        submitted=float(marker.told["time"]),
        max_steps=None,
        handle={**way, "slurm_id": marker.told["slurm_id"], records.BESIDE: record.run_name},
        launcher=None,
        before=None,
        end=None,
        after=[],
        typed=[RECIPE, f"{record.run_name}:{marker.step}"],
    )


def _read(place: FileSystem, jobs: list[Record]) -> dict[str, list[Marker]]:
    """Directory of a run -> its markers, by step.

    Raises:
        ClusterError: the place does not answer.
    """
    lines = []
    for record in jobs:
        folder = shlex.quote(str(record.handle[contract.EVALUATIONS]))
        lines.append(f"printf '{_FOLDER}%s\\n' {shlex.quote(record.run_dir)}")
        read = f'[ -f "$one" ] && cat -- "$one" 2>/dev/null && printf \'{_END}\''  # a pipe would wait for its writer
        lines.append(f"(cd {folder} 2>/dev/null && for one in *{contract.EVALUATION_JOB}; do {read}; done)")
    text = filesystem.output(place, "\n".join(lines), _ASK_S)
    found: dict[str, list[Marker]] = {record.run_dir: [] for record in jobs}
    for part in text.split(_FOLDER)[1:]:
        run_dir, _, files = part.partition("\n")
        if run_dir in found:
            found[run_dir] = sorted(_markers(files), key=lambda marker: marker.step)
    return found


def _markers(files: str) -> Iterator[Marker]:
    for text in files.split(_END)[:-1]:
        told = parse(text) or {}
        step = contract.checkpoint_step(str(told.get("checkpoint")))
        if step is not None:
            yield Marker(step, told)
