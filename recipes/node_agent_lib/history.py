"""RUN_DIR/history.jsonl: what happened to a run, a line for the beginning and one for the end of every attempt.

    {"event": "begun", "time", "job_id", "attempt", "slurm_id", "nodes": [names], "checkpoint": S, "gpus",
     "allocated_s"}
    {"event": "ended", "time", "job_id", "attempt", "slurm_id", "state", "code", "error", "rank", "node",
     "from_step", "to_step", "checkpoint": S, "save_s", "gpu_hours", "allocated_s", "goes_on": bool, "why",
     "known": the id of a known error, "cause": what it means}
    {"event": "resumed", "time", "job_id", "attempt"}: a person started a job again that was over

`restarts` is how often ft_launcher has started the ranks again within the attempt, where it has.

Of a job with spares `nodes` are those that train, `spares` those that wait; where a spare took a lost node's rank
within the Slurm job the attempt ends with `replaced`, and the next one begins with `replaces`: the names of the lost.

`checkpoint` is the step of the newest complete checkpoint, null where there is none or where their form is not known;
steps count from 0. `save_s` is the longest save that was seen, in seconds. `gpus` and `gpu_hours` are what Slurm had
allocated, of a job with max_gpu_hours. `allocated_s` is for how many seconds the attempt had had its nodes then: more
than since its line `begun`, which a prolog comes before. An attempt whose node died is ended by the next one, much
later: its `time` is not its end, `allocated_s` is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import contract

from .files import Json, append_json, as_number, as_whole, each_line, read_lines

_PATIENCE_S = 10.0  # of a full disk


@dataclass(frozen=True)
class Ended:
    """What the decision about the next attempt needs of an ended one."""

    attempt: int
    state: str
    code: int
    error: str | None = None
    from_step: int | None = None
    to_step: int | None = None
    checkpoint: int | None = None
    save_s: float | None = None
    gpu_hours: float | None = None
    allocated_s: float | None = None
    known: str | None = None  # the id of a known error
    replaced: bool = False  # the next attempt followed within the Slurm job, on a spare


def path(run_dir: str) -> str:
    """history.jsonl"""
    return os.path.join(run_dir, contract.HISTORY)


def completes(end: Json) -> bool:
    """Whether the end of an attempt, of this file or exit.json, was that of its run's training."""
    return end.get("state") == contract.COMPLETED or end.get("why") == contract.RUN_FINISHED


def read(run_dir: str) -> list[Json]:
    """Every complete line, with its attempt and its time."""
    found = read_lines(path(run_dir))
    return [one for one in found if as_whole(one.get("attempt")) is not None and as_number(one.get("time")) is not None]


def add(run_dir: str, event: str, job_id: str, attempt: int, **details: Any) -> None:
    """Add a line: `begun`, `ended` or `resumed`.

    Raises:
        OSError: the line cannot be written; the file is what it was.
    """
    entry = {"event": event, "time": time.time(), "job_id": job_id, "attempt": attempt, **details}
    append_json(path(run_dir), [entry], _PATIENCE_S)


def ends(entries: list[Json], job_id: str) -> list[Ended]:
    """The ended attempts of a job, oldest first; of an attempt that was described twice, the later description.

    Those before a person resumed the job no longer count.
    """
    found: dict[int, Ended] = {}
    for entry in entries:
        if entry.get("event") == contract.HISTORY_RESUMED and entry.get("job_id") == job_id:
            found.clear()
        elif entry.get("event") == contract.HISTORY_ENDED and entry.get("job_id") == job_id:
            found[entry["attempt"]] = _ended(entry)
    return [found[attempt] for attempt in sorted(found)]


def _ended(entry: Json) -> Ended:
    return Ended(
        attempt=entry["attempt"],
        state=str(entry.get("state")),
        code=as_whole(entry.get("code")) or 0,
        error=entry.get("error") if isinstance(entry.get("error"), str) else None,
        from_step=as_whole(entry.get("from_step")),
        to_step=as_whole(entry.get("to_step")),
        checkpoint=as_whole(entry.get("checkpoint")),
        save_s=as_number(entry.get("save_s")),
        gpu_hours=as_number(entry.get("gpu_hours")),
        allocated_s=as_number(entry.get("allocated_s")),
        known=entry.get("known") if isinstance(entry.get("known"), str) else None,
        replaced=bool(entry.get("replaced")),
    )


def has(run_dir: str, event: str, job_id: str, attempt: int) -> bool:
    """Whether it has such a line."""
    told = ((entry.get("event"), entry.get("job_id"), entry["attempt"]) for entry in read(run_dir))
    return (event, job_id, attempt) in told


def told_restarts(job_dir: str, attempt: int) -> Json:
    """`restarts`, where ft_launcher has started the ranks again within the attempt: how often, by node 0's events."""
    ranks = [
        entry.get("rank")
        for entry in each_line(os.path.join(job_dir, contract.EVENTS))
        if (entry.get("state"), entry.get("attempt")) == (contract.EVENT_RESTARTED, attempt)
    ]
    return {"restarts": max(map(ranks.count, ranks))} if ranks else {}


def began(entries: list[Json], job_id: str) -> float | None:
    """When the job's first attempt began."""
    return next(
        (e["time"] for e in entries if e.get("event") == contract.HISTORY_BEGUN and e.get("job_id") == job_id), None
    )
