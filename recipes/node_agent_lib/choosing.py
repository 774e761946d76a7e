"""Which point of a sweep is the best: chosen when a job that takes it begins, by what the points have logged.

    JOB_DIR/choices.json   what is to be chosen, the launcher's: {"choices": [objects of CHOICE_KEYS]}
    link                   SWEEP_DIR/best-HASH, a link to the run's directory, replaced in one step
    link.json              {"sweep", "metric", "highest", "run_name", "value", "step", "time", "points": {run: value}}

Points are sorted as `launch.py compare` does (automodel_launch/report/ranking.py): by the last value of the metric that
counts. Who chooses twice from the same records chooses the same.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from dataclasses import dataclass
from typing import List, Tuple

import contract

from . import history, predecessors
from .files import Json, as_number, as_whole, each_line, read_json, write_json
from .nodes import host_name

_USUAL = ("val_loss", "loss")
_PATIENCE_S = 30.0  # of a full disk

Rows = List[Tuple[int, float]]  # (step, value) in the order in which they were logged; NaN for what was no number


@dataclass(frozen=True, eq=False)
class Point:
    """A run that has completed, with the rows of each metric that it has logged."""

    run_name: str
    run_dir: str
    logged: dict[str, Rows]

    def value(self, metric: str) -> tuple[float, int] | None:
        """The metric's last value that counts, with its step; None where that is no number."""
        found = last(self.logged.get(metric, []))
        return found if found and math.isfinite(found[0]) else None


def settle(job_dir: str) -> str | None:
    """Make the links that the job reads; why it cannot begin where there is nothing to choose from, or no room."""
    for choice in _choices(job_dir):
        try:
            refused = _choose(choice)
        except OSError as error:
            refused = f"the best point of sweep {choice['sweep']} cannot be linked: {choice['link']}: {error.strerror}"
        if refused:
            return refused
    return None


def none_completed(job_dir: str) -> str | None:
    """Behind "it was to follow", of a job that takes any point of a sweep: that none has completed; else None."""
    done = {run["run_dir"] for run in predecessors.of(job_dir) if predecessors.has_completed(run)}
    for choice in _choices(job_dir):
        runs = [(str(run["run_name"]), str(run["run_dir"])) for run in choice["runs"]]
        if not choice["all"] and not any(folder in done or _has_completed(folder) for _, folder in runs):
            return contract.none_completed(choice["sweep"], [name for name, _ in runs])
    return None


def _choices(job_dir: str) -> list[Json]:
    found = (read_json(os.path.join(job_dir, contract.CHOICES)) or {}).get("choices")
    return found if isinstance(found, list) else []


def _choose(choice: Json) -> str | None:
    runs = [(str(run["run_name"]), str(run["run_dir"])) for run in choice["runs"]]
    left = [name for name, folder in runs if not _has_completed(folder)]
    if left and (choice["all"] or len(left) == len(runs)):
        none = "" if choice["all"] else "none of its points has: "
        return f"sweep {choice['sweep']} has not completed: {none}{', '.join(left)}"
    if choice["link"] is None:
        return None
    points = [Point(name, folder, _logged(folder)) for name, folder in runs if name not in left]
    metric = choice["metric"] or _usual(points)
    told = {point: found for point in points for found in [point.value(metric)] if found}
    if not told:
        known = ", ".join(sorted({name for point in points for name in point.logged})) or "nothing"
        return f"sweep {choice['sweep']}: no point that has completed has a number as {metric}; they logged {known}"
    sign = -1.0 if choice["highest"] else 1.0
    _link(choice, metric, min(told, key=lambda point: sign * told[point][0]), told)
    return None


def _has_completed(run_dir: str) -> bool:
    ended = [row for row in history.read(run_dir) if row.get("event") == contract.HISTORY_ENDED]
    return bool(ended) and history.completes(ended[-1])


def _usual(points: list[Point]) -> str:
    return next((name for name in _USUAL if any(name in point.logged for point in points)), _USUAL[-1])


def _logged(run_dir: str) -> dict[str, Rows]:
    """Of all jobs of the run."""
    root, name = os.path.split(run_dir.rstrip("/"))
    found: dict[str, Rows] = {}
    for job_id in dict.fromkeys(str(row.get("job_id")) for row in history.read(run_dir)):
        if re.fullmatch(re.escape(name) + r"\.\d+", job_id):  # a name in a file that a job can write is no path yet
            for row in each_line(os.path.join(root, job_id, contract.METRICS)):
                _take(found, row)
    return found


def _take(found: dict[str, Rows], row: Json) -> None:
    """A line of metrics.jsonl, of a step or of a validation; one without step and time is none of a training."""
    step, name = as_whole(row.get("step")), row.get("name")
    if step is None or as_number(row.get("time")) is None:
        return
    if "loss" in row:
        values = {key: value for key, value in row.items() if key not in ("step", "time")}
    else:
        named = isinstance(name, str) and name != "default"
        counts = "val_loss" in row and not contract.has_no_token(row)
        values = {f"val_loss/{name}" if named else "val_loss": row["val_loss"]} if counts else {}
    for key, value in values.items():
        told = as_number(value)
        if told is not None or value is None or isinstance(value, float):  # of a float that is none, it is infinite
            found.setdefault(key, []).append((step, math.nan if told is None else told))


def last(rows: Rows) -> tuple[float, int] | None:
    """Value and step of the last one that counts: what a later attempt has gone back behind does not."""
    kept: Rows = []
    for step, value in rows:
        while kept and kept[-1][0] >= step:
            kept.pop()
        kept.append((step, value))
    return (kept[-1][1], kept[-1][0]) if kept else None


def _link(choice: Json, metric: str, best: Point, told: dict[Point, tuple[float, int]]) -> None:
    """Relative, as they lie beside each other: it holds in a container, and after a move."""
    link, (value, step) = str(choice["link"]), told[best]
    folder = os.path.dirname(link)
    os.makedirs(folder, exist_ok=True)
    record = {"sweep": choice["sweep"], "metric": metric, "highest": choice["highest"], "time": time.time()}
    record.update(run_name=best.run_name, value=value, step=step)
    record["points"] = {point.run_name: found[0] for point, found in told.items()}
    write_json(f"{link}.json", record, _PATIENCE_S)
    partial = f"{link}.{host_name(os.environ)}.{os.getpid()}.tmp"  # others may choose at the same time
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    os.symlink(os.path.relpath(best.run_dir, folder), partial)
    os.replace(partial, link)
