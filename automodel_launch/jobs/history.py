"""What happened to a run: every attempt at it, from RUN_DIR/history.jsonl (recipes/node_agent_lib/history.py)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Status, is_number, is_time, is_whole
from automodel_launch.remote.filesystem import FileSystem

_LISTS = ("nodes", "spares", "replaces")  # of names of nodes
LOST = "LOST"  # of an attempt that has left no word of its end
_NO_RECORD = "it left no record of its end (killed?)"
TAIL = 2**20  # bytes of the file that are read: thousands of attempts


def attempts(run_dir: str, place: FileSystem) -> list[dict[str, Any]]:
    """One object an attempt, oldest first: what its beginning and its end have said, under the keys of the file.

    `before_s` is for how many seconds Slurm had given it its nodes when it began, `allocated_s` for how many in all.
    `began` and `ended` are unix seconds; an attempt that nobody has closed has no `ended` and no `state`.
    """
    found = place.read(f"{run_dir}/{contract.HISTORY}", -TAIL)
    return parsed(found[0] if found else b"")


def parsed(content: bytes) -> list[dict[str, Any]]:
    """The same of the file's content."""
    return merged([entry for line in content.splitlines() if (entry := parse(line))])


def merged(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same of the objects in its lines."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in entries:
        key = (str(entry.get("job_id")), _number(entry.get("attempt")))
        event, when = entry.get("event"), entry["time"] if is_time(entry.get("time")) else None
        entry = {**entry, **{name: _names(entry[name]) for name in _LISTS if name in entry}}
        if event == contract.HISTORY_BEGUN:
            told = {"began": when, "nodes": entry.get("nodes") or [], "slurm_id": entry.get("slurm_id")}
            told |= {"gpus": entry["gpus"]} if is_whole(entry.get("gpus")) else {}
            told |= {"spares": entry["spares"]} if "spares" in entry else {}
            told |= {"before_s": entry["allocated_s"]} if is_number(entry.get("allocated_s")) else {}
            found[key] = {"job_id": key[0], "attempt": key[1], **told}
        elif event == contract.HISTORY_ENDED:
            rest = {k: v for k, v in entry.items() if k not in ("event", "time")}
            own = {"job_id": key[0], "attempt": key[1], "ended": when}
            found[key] = {**found.get(key, {"nodes": []}), **rest, **own}
    return list(found.values())


def closed(rows: Iterable[dict[str, Any]], job_id: str, now: Status) -> list[dict[str, Any]]:
    """The rows with a state for each: one that nobody has closed runs still, or was killed with all that it had.

    `now` is the state of the job of that id.
    """
    rows = list(rows)
    last = max((number for number, row in enumerate(rows) if row["job_id"] == job_id), default=None)
    return [row if row.get("state") else {**row, **_open(row, now, number == last)} for number, row in enumerate(rows)]


def _open(row: dict[str, Any], now: Status, is_last: bool) -> dict[str, Any]:
    if is_last and not now.over:
        return {"state": now.state, **({} if now.step is None else {"to_step": now.step})}
    if not is_last or now.state == contract.COMPLETED:
        return {"state": LOST, "error": _NO_RECORD}
    step = {} if now.step is None else {"to_step": now.step}
    return {"state": now.state, "error": now.error or now.reason or _NO_RECORD, **step}


def completes(row: Mapping[str, Any]) -> bool:
    """Whether the end of an attempt was that of its run's training, as recipes/node_agent_lib/history.py says it."""
    return row.get("state") == contract.COMPLETED or row.get("why") == contract.RUN_FINISHED


def completed_at(run_dir: str, place: FileSystem) -> float | None:
    """When the last attempt at the run has ended, if it has completed (unix seconds; 0 where its end has no time)."""
    rows = [row for row in attempts(run_dir, place) if row.get("state")]
    if not rows or not completes(rows[-1]):
        return None
    return rows[-1].get("ended") or 0.0


def before_s(row: Mapping[str, Any]) -> float:
    """Seconds for which an attempt had had its nodes when it began; 0 where that is not told."""
    told = row.get("before_s")
    return max(0.0, told) if is_number(told) else 0.0


def gpu_hours(rows: Iterable[dict[str, Any]], job_id: str, until: float) -> float:
    """Allocated GPU time of a job's attempts; one that nobody has closed counts until the next one, or `until`."""
    total = 0.0
    ours = [row for row in rows if row["job_id"] == job_id and "gpus" in row]
    for row, after in zip(ours, [*ours[1:], {}], strict=True):
        hours, began, end = row.get("gpu_hours"), row.get("began"), after.get("began", until)
        if "ended" not in row and isinstance(began, int | float) and isinstance(end, int | float):
            hours = max(0.0, end - began) * row["gpus"] / 3600
        total += hours if isinstance(hours, int | float) else 0.0
    return total


def is_spent(rows: Iterable[dict[str, Any]], job_id: str) -> str | None:
    """Why the job's GPU-hours allow no further attempt, where that was its end."""
    whys = [str(row.get("why") or "") for row in rows if row["job_id"] == job_id and row.get("goes_on") is False]
    return whys[-1] if whys and contract.MAX_GPU_HOURS in whys[-1] else None


def table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """A line an attempt: which job, where, from which step to which, how it ended and what followed."""
    cells = [tuple(_cells(row)) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)] if cells else []
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), *row[5:]]).rstrip()
        for row in cells
    ]


def _cells(row: dict[str, Any]) -> Iterator[str]:
    slurm_id = f" (Slurm {row['slurm_id']})" if row.get("slurm_id") else ""
    yield f"{row['job_id']} attempt {row['attempt'] + 1}{slurm_id}"
    began = row.get("began")
    yield time.strftime("%m-%d %H:%M:%S", time.localtime(began)) if began else ""
    spares = f" + {len(row['spares'])} spare" if row.get("spares") else ""
    yield "on " + _short(row["nodes"]) + spares if row["nodes"] else ""
    yield _steps(row)
    yield str(row.get("state") or "")
    why = row.get("why") or row.get("error") or ""
    if is_whole(row.get("restarts")) and row["restarts"] > 0:
        times = "once" if row["restarts"] == 1 else f"{row['restarts']} times"
        why = f"{why} (ft_launcher had started its ranks again {times})"
    yield f"{'' if row.get('goes_on') is None else 'then the next: ' if row['goes_on'] else 'the end: '}{why}"


def _short(nodes: list[str]) -> str:
    return ",".join(nodes) if len(nodes) <= 4 else f"{nodes[0]} and {len(nodes) - 1} more"


def _steps(row: dict[str, Any]) -> str:
    first, last = row.get("from_step"), row.get("to_step")
    if first is None and last is not None:
        return f"to step {last}"
    if first is None:
        return "" if row.get("state") is None else "no step"
    return f"steps {first} to {last}"


def _number(value: Any) -> int:
    return value if is_whole(value) else 0


def _names(value: Any) -> list[str]:
    """Those of nodes; a job may have written anything."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
