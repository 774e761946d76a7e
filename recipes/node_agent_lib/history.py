"""RUN_DIR/history.jsonl: what happened to a run, a line for the beginning and one for the end of every attempt.

    {"event": "begun", "time", "job_id", "attempt", "slurm_id", "nodes": [names], "checkpoint": S}
    {"event": "ended", "time", "job_id", "attempt", "slurm_id", "state", "code", "error", "rank", "node",
     "from_step", "to_step", "checkpoint": S, "save_s", "goes_on": bool, "why"}
    {"event": "resumed", "time", "job_id", "attempt"}: a person started a job again that was over

`checkpoint` is the step in the name of the newest checkpoint that is no longer being saved, null where there is none;
steps count as AutoModel counts them, from 0. `save_s` is the longest save that was seen, in seconds.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any

from .files import Json, append_json, read_lines

# nemo_automodel 0.7.0, components/checkpoint: epoch_E_step_S, with `.incomplete` inside while it is being saved.
_CHECKPOINT = re.compile(r"epoch_\d+_step_(\d+)$")
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


def path(run_dir: str) -> str:
    """history.jsonl"""
    return os.path.join(run_dir, "history.jsonl")


def read(run_dir: str) -> list[Json]:
    """Every line that is whole."""
    return [entry for entry in read_lines(path(run_dir)) if isinstance(entry.get("attempt"), int)]


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
        if entry.get("event") == "resumed" and entry.get("job_id") == job_id:
            found.clear()
        elif entry.get("event") == "ended" and entry.get("job_id") == job_id:
            found[entry["attempt"]] = _ended(entry)
    return [found[attempt] for attempt in sorted(found)]


def _ended(entry: Json) -> Ended:
    return Ended(
        attempt=entry["attempt"],
        state=str(entry.get("state")),
        code=_number(entry.get("code")) or 0,
        error=entry.get("error") if isinstance(entry.get("error"), str) else None,
        from_step=_number(entry.get("from_step")),
        to_step=_number(entry.get("to_step")),
        checkpoint=_number(entry.get("checkpoint")),
        save_s=float(entry["save_s"]) if isinstance(entry.get("save_s"), (int, float)) else None,
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def began(entries: list[Json], job_id: str) -> float | None:
    """When the job's first attempt began."""
    return next((e["time"] for e in entries if e.get("event") == "begun" and e.get("job_id") == job_id), None)


def newest_checkpoint(directory: str | None) -> int | None:
    """Step of the newest checkpoint below `directory` that is not in the middle of being saved."""
    return max((step for _, step, complete in checkpoints(directory) if complete), default=None)


def checkpoints(directory: str | None) -> list[tuple[str, int, bool]]:
    """Path, step, and whether it is no longer being saved, of every checkpoint below `directory`."""
    found = []
    for name in _names(directory) if directory else []:
        match = _CHECKPOINT.match(name)
        if match:
            path = os.path.join(str(directory), name)
            found.append((path, int(match.group(1)), not os.path.exists(os.path.join(path, ".incomplete"))))
    return found


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
