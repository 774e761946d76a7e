"""`max_gpu_hours`: what all attempts of a chain may use, in allocated GPU time (GPUs x hours, whatever they do).

An attempt's use stands in its line `ended` of the history. Slurm tells how long it had its nodes, by the controller's
clock; where Slurm has forgotten, the history and the last heartbeat of the nodes do.
"""

from __future__ import annotations

import time
from typing import Mapping

import contract

from . import slurm
from .files import Json, as_number, as_whole
from .records import NodeRecord

LEAST_S = 300.0  # what a further attempt must have at least: it has to start, load and save as well


def gpus(environ: Mapping[str, str], planned: int) -> int:
    """GPUs of the Slurm job that runs this: what Slurm has allocated, else what the profile asks for."""
    node, nodes = (environ.get(name, "") for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_NUM_NODES"))
    return int(node) * int(nodes) if node.isdigit() and nodes.isdigit() else planned


def used(entries: list[Json], job_id: str) -> float:
    """GPU-hours of all ended attempts of a job, also of those before a person resumed it."""
    ended = [e for e in entries if e.get("event") == contract.HISTORY_ENDED and e.get("job_id") == job_id]
    last = {entry["attempt"]: entry.get("gpu_hours") for entry in ended}
    return sum(as_number(hours) or 0.0 for hours in last.values())


def allocated_s(begun: Json | None, slurm_s: float | None, nodes: list[NodeRecord], runs_still: bool) -> float | None:
    """For how many seconds an attempt has had its nodes; None where nobody allocates any.

    `slurm_s` is what Slurm says of one that is over. One that runs still counts on from its line `begun`, so that
    nothing is asked at a job's end; of one that Slurm has forgotten the last heartbeat tells.
    """
    if slurm_s is not None or begun is None or not begun.get("slurm_id"):
        return slurm_s
    before = as_number(begun.get("allocated_s")) or 0.0
    return round(before + _since_begun_s(begun, nodes, runs_still), 3)


def of_attempt(begun: Json | None, slurm_id: str, nodes: list[NodeRecord], runs_still: bool) -> float | None:
    """GPU-hours of an attempt, from its line `begun`; `runs_still`: its Slurm job is the one that asks."""
    count = as_whole((begun or {}).get("gpus"))
    if begun is None or count is None:
        return None
    seconds = slurm.allocated_s(slurm_id, runs_still) if slurm_id else None
    if seconds is None:
        seconds = _since_begun_s(begun, nodes, runs_still)
    return round(count * seconds / 3600, 4)


def _since_begun_s(begun: Json, nodes: list[NodeRecord], runs_still: bool) -> float:
    """From its line `begun` to now; of an attempt that is over, to its last heartbeat."""
    start = float(begun["time"])
    end = time.time() if runs_still else max((node.time for node in nodes), default=start)
    return max(0.0, end - start)


def used_up(limit: float, hours: float, count: int) -> str | None:
    """Why there shall be no further attempt with so many GPUs; None where there is enough left for one."""
    left = limit - hours
    if left * 3600 >= LEAST_S * max(1, count):
        return None
    rest = f"; the {left:.3g} that are left are not {LEAST_S / 60:.0f} minutes of {count} GPUs" if left > 0 else ""
    return f"its GPU-hours are used up: {hours:.3g} of {limit:g} ({contract.MAX_GPU_HOURS} = {limit:g}){rest}"


def left_s(limit: float, entries: list[Json], job_id: str, count: int, since_start_s: float) -> float:
    """Seconds that an attempt with so many GPUs may still run, which has had them for `since_start_s` seconds."""
    return max(0.0, (limit - used(entries, job_id)) * 3600 / max(1, count) - since_start_s)


def begun_line(entries: list[Json], job_id: str, number: int) -> Json | None:
    """The line `begun` of an attempt."""
    mine = [e for e in entries if (e.get("job_id"), e.get("event")) == (job_id, contract.HISTORY_BEGUN)]
    return next((entry for entry in reversed(mine) if entry["attempt"] == number), None)
