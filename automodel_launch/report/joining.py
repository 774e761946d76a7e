"""All attempts at a run as one: which rows of metrics belong to which attempt, and which of them count.

A step that a later attempt has done again, or has gone back behind, does not count: the later record of a step does.
Nor does a row that cannot be true (jobs/strays.py).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import history, strays
from automodel_launch.jobs.jobdir import WAITS_FOR_AGENT
from automodel_launch.jobs.records import is_number
from automodel_launch.report.columns import Columns
from automodel_launch.report.intervals import Interval
from automodel_launch.report.reading import JobFiles, Json, RunFiles

BEFORE = "before the batch script (prolog)"  # a phase of the start


@dataclass
class Attempt:
    """`rows` are those of the joined columns, `end` exclusive; times are unix seconds, `ended` None while it runs.

    `allocated` is since when it had its nodes: before `began`, where its batch script came to a word.
    `pauses` are the phases that were told, by name; `saves_of_log` those of which the end is the next step's.
    """

    job: JobFiles
    number: int
    row: Json
    began: float
    allocated: float
    ended: float | None = None
    rows: range = range(0)
    pauses: dict[str, list[Interval]] = field(default_factory=dict)
    saves_of_log: list[Interval] = field(default_factory=list)
    alive: float = 0.0  # its last sign of life
    submitted: float | None = None

    @property
    def job_id(self) -> str:
        """The job's."""
        return self.job.job_id


@dataclass
class Joined:
    """`steps` holds every row of every attempt in the order of time, `counts` whether it is the last of its step.

    `of_job` are the rows of each job.
    """

    attempts: list[Attempt]
    steps: Columns
    counts: bytearray
    validations: dict[str, Columns]
    of_job: list[tuple[JobFiles, range]] = field(default_factory=list)

    def kept(self) -> array[int]:
        """The rows that count, in the order of steps."""
        return array("q", (row for row in range(self.steps.rows) if self.counts[row]))

    def last_validations(self, name: str) -> list[int]:
        """The rows of a validation that count."""
        column = self.validations[name]["step"]
        marks = counting(column, self._starts_by_time(self.validations[name]))
        return [row for row in range(len(column)) if marks[row]]

    def _starts_by_time(self, columns: Columns) -> frozenset[int]:
        return frozenset(bisect_left(columns["time"], attempt.began) for attempt in self.attempts)


def join(files: RunFiles) -> Joined:
    """Every job's rows, one after the other."""
    logged = [job.steps for job in files.jobs if job.steps.rows]
    alone = len(logged) == 1  # a long run of one job: its rows need no second place in memory
    steps, validations, attempts = logged[0] if alone else Columns(), dict[str, Columns](), list[Attempt]()
    of_job: list[tuple[JobFiles, range]] = []
    for job in files.jobs:
        offset = 0 if alone else steps.rows
        if not alone:
            steps.extend(job.steps)
        for name, found in job.validations.items():
            validations.setdefault(name, Columns()).extend(found)
        attempts += _attempts(files, job, offset)
        of_job.append((job, range(offset, offset + job.steps.rows)))
    attempts.sort(key=lambda attempt: attempt.began)
    starts = {rows.start for rows in (*(attempt.rows for attempt in attempts), *(rows for _, rows in of_job))}
    return Joined(attempts, steps, counting(steps["step"], starts), validations, of_job)


def rows(joined: Joined) -> Iterator[Json]:
    """The steps that count, each with its validation's loss; a named validation has a column of its own."""
    validated: dict[int, Json] = {}
    for name, columns in joined.validations.items():
        for row in joined.last_validations(name):
            found = validated.setdefault(int(columns["step"][row]), {"time": columns.value("time", row)})
            found[_key(name)] = columns.value("val_loss", row)
    alone = iter(sorted(validated))
    following = next(alone, None)
    for row in joined.kept():
        step = int(joined.steps["step"][row])
        while following is not None and following <= step:
            if following < step:
                yield {"step": following, **validated[following]}
            following = next(alone, None)
        found = joined.steps.row(row)
        found.update((key, value) for key, value in validated.get(step, {}).items() if key != "time")
        yield found
    while following is not None:
        yield {"step": following, **validated[following]}
        following = next(alone, None)


def names(joined: Joined) -> list[str]:
    """All that a row may have."""
    own = joined.steps.names or ["step", "time"]
    return [*own, *(_key(name) for name in joined.validations)]


def _key(validation: str) -> str:
    return "val_loss" if validation == "default" else f"val_loss/{validation}"


def counting(steps: Any, starts: Container[int] = ()) -> bytearray:
    """1 for each row that no later row stands at or behind; `starts` are the first rows of attempts."""
    marks, least, odd = bytearray(len(steps)), math.inf, frozenset(strays.strays(steps, starts))
    for row in range(len(steps) - 1, -1, -1):
        if steps[row] < least and row not in odd:
            marks[row], least = 1, steps[row]
    return marks


def _attempts(files: RunFiles, job: JobFiles, offset: int) -> list[Attempt]:
    told = [row for row in files.attempts if row["job_id"] == job.job_id and is_number(row.get("began"))]
    told.sort(key=lambda row: row["began"])
    times = job.steps["time"]
    found, first = [], 0
    for index, row in enumerate(told):
        following = told[index + 1] if index + 1 < len(told) else None
        last = len(times) if following is None else _first_row(job, following, first)
        attempt = Attempt(job, row["attempt"], row, row["began"], _allocated(row), _ended(row))
        attempt.rows = range(offset + first, offset + last)
        attempt.submitted = _submitted(job) if index == 0 else None
        _take_phases(attempt, job, following["began"] if following else math.inf)
        signs = [times[last - 1]] if last > first else []
        signs += [end for spans in attempt.pauses.values() for _, end in spans]
        signs += [event["time"] for event in _events(attempt, job, following)]
        attempt.alive = max([attempt.began, *signs])
        found.append(attempt)
        first = last
    return found


def _allocated(row: Json) -> float:
    """Since when the attempt has had its nodes."""
    return float(row["began"]) - history.before_s(row)


def _ended(row: Json) -> float | None:
    """When the attempt ended: the line that says so may have been written much later, by the attempt after it."""
    ended, seconds = row.get("ended"), row.get("allocated_s")
    if not is_number(ended):
        return None
    return min(ended, max(float(row["began"]), _allocated(row) + seconds)) if is_number(seconds) else ended


def _first_row(job: JobFiles, attempt: Json, least: int) -> int:
    """The first row of an attempt, which the event `training` names by step and time.

    Rows of the attempt before that its agent has left unread are written down when the next one begins: they have a
    time of that attempt, but stand before its first step.
    """
    times, steps, began = job.steps["time"], job.steps["step"], attempt["began"]
    row = bisect_left(times, began, least)
    for event in job.events:
        if event.get("state") == contract.EVENT_TRAINING and event.get("attempt") == attempt["attempt"]:
            written = range(row, bisect_right(times, event["time"], row))
            own = [r for r in written if steps[r] == event.get("step")]
            if own and event["time"] >= began:
                return own[-1]
    return row


def _take_phases(attempt: Attempt, job: JobFiles, before: float) -> None:
    of_log: list[Interval] = []
    for entry in job.phases:
        if entry.get("attempt") != attempt.number or not attempt.began <= entry["since"] < before:
            continue
        interval = (entry["since"], max(entry["since"], entry["until"]))
        if entry.get("by") == contract.BY_LOG:
            of_log.append(interval)
        else:
            attempt.pauses.setdefault(entry["phase"], []).append(interval)
    if contract.PHASE_SAVING not in attempt.pauses:
        attempt.saves_of_log = of_log
    if attempt.allocated < attempt.began:
        attempt.pauses[BEFORE] = [(attempt.allocated, attempt.began)]
    started = [
        event["time"]
        for event in job.events
        if event.get("state") == contract.EVENT_STARTED
        and event.get("attempt") == attempt.number
        and attempt.began <= event["time"] < before
    ]
    if started:
        attempt.pauses[WAITS_FOR_AGENT] = [(attempt.began, started[0])]


def _events(attempt: Attempt, job: JobFiles, following: Json | None) -> list[Json]:
    """The attempt's own events; `begin` may write the end of a lost one much later, under the next one's time."""
    before = following["began"] if following else math.inf
    own = [event for event in job.events if event.get("attempt") == attempt.number]
    return [event for event in own if attempt.began <= event["time"] < before]


def _submitted(job: JobFiles) -> float | None:
    return next((event["time"] for event in job.events if event.get("state") == contract.EVENT_SUBMITTED), None)
