"""Has every run completed that this job was to wait for? Told by their own records, whoever has let the job go.

    JOB_DIR/after.json     {"runs": [{"run_name", "run_dir", "job_id", "job_dir", "history_bytes"}]}, the launcher's
    JOB_DIR/ended/RUN_NAME of each run with "any_end": true that has failed for good: for this job that is an end, too

A run has completed when, behind the first `history_bytes` bytes of its history, an attempt of any of its jobs has: by
that no clock has a say, and a run that had completed before, and was made longer, counts once it has done so again.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable

import contract

from . import history
from .files import Json, parse, read_json
from .records import exit_path, read_node, read_nodes
from .verdict import complete

_SHOWS_S = 60.0  # a network file system shows what another node has written within that time
_EVERY_S = 2.0


def of(job_dir: str) -> list[Json]:
    """The runs that a job waits for."""
    runs = (read_json(os.path.join(job_dir, contract.PREDECESSORS)) or {}).get("runs")
    known = set(contract.PREDECESSOR_KEYS)
    return [run for run in runs if isinstance(run, dict) and known <= set(run)] if isinstance(runs, list) else []


def unfinished(job_dir: str) -> list[Json]:
    """Those of them that have not completed."""
    return [run for run in of(job_dir) if not has_completed(run) and not _has_ended(run, job_dir)]


def takes_failure(job_dir: str, run_dir: str) -> bool:
    """Whether the job waits for the run's end, however that is."""
    return any(run["run_dir"] == run_dir and run.get(contract.ANY_END) is True for run in of(job_dir))


def note_failure(job_dir: str, run_dir: str) -> None:
    """The run has failed for good, and the job takes that; who asks later sees it.

    Raises:
        OSError: it cannot be written down.
    """
    folder = os.path.join(job_dir, contract.ENDINGS)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, os.path.basename(run_dir)), "w", encoding="utf-8"):
        pass


def _has_ended(run: Json, job_dir: str) -> bool:
    folder = os.path.join(job_dir, contract.ENDINGS)
    return run.get(contract.ANY_END) is True and str(run["run_name"]) in _look_anew(folder)


def has_completed(run: Json) -> bool:
    """Whether the run has come to its end since it was waited for."""
    for folder in (run["run_dir"], run["job_dir"]):
        _look_anew(str(folder))
    ended = read_json(exit_path(str(run["job_dir"])))
    if ended is None and _nodes_tell_completion(str(run["job_dir"])):
        return True
    if ended and ended.get("state") == contract.COMPLETED and not ended.get("goes_on"):
        return True
    entries = _since(str(run["run_dir"]), run["history_bytes"])
    return any(entry.get("event") == contract.HISTORY_ENDED and history.completes(entry) for entry in entries)


def _nodes_tell_completion(job_dir: str) -> bool:
    """Of a job that had no room for more than its nodes' records; one that fails, and goes on, has others soon."""
    first = read_node(job_dir, 0)  # of thousands, which are read only where this one has ended
    nodes = read_nodes(job_dir) if first is not None and first.code == 0 else []
    return bool(nodes) and complete(nodes, nodes[0].nnodes) and all(node.code == 0 for node in nodes)


def refusal(job_dir: str, sleep: Callable[[float], None] = time.sleep) -> str | None:
    """Why the job is not to begin, in words; None where all that it waited for have completed."""
    left = unfinished(job_dir)
    for _ in range(int(_SHOWS_S / _EVERY_S) if left else 0):
        sleep(_EVERY_S)
        left = unfinished(job_dir)
        if not left:
            break
    if not left:
        return None
    return f"it was to follow {', '.join(_told(run) for run in left)}, and began before that had completed"


def _told(run: Json) -> str:
    state = (read_json(exit_path(str(run["job_dir"]))) or {}).get("state")
    return f"run {run['run_name']}{f' ({state})' if isinstance(state, str) else ''}"


def _since(run_dir: str, offset: object) -> list[Json]:
    try:
        with open(os.path.join(run_dir, contract.HISTORY), "rb") as file:
            file.seek(offset if isinstance(offset, int) and offset > 0 else 0)
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    return [entry for entry in map(parse, lines) if entry is not None]


def _look_anew(folder: str) -> list[str]:
    """A network file system remembers for a minute that a file is not there, unless its folder is read; its names."""
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []
