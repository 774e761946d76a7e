"""Whose turn is it? Whether the Slurm job that begins may make the next attempt of a job, and of one that was over."""

from __future__ import annotations

import os

import contract

from . import bad_nodes, history, slurm
from .chain import Link, Order
from .files import Json, read_json
from .records import exit_path

_ACCUSED = {"FAILED", "NODE_FAIL", "BOOT_FAIL"}  # how a job ends whose node could not even begin it


def of_another(former: Link, me: str) -> str | None:
    """Why there is nothing to do for Slurm job `me`: another one runs this job, or is to come first.

    A submission whose answer was lost and that was made again, a spare job, or one that `resume` has replaced.
    """
    if me == former.now:
        return None
    if me == former.next:  # an operator may have taken its dependency away; an epilog of the one before is no reason
        return f"Slurm job {former.now} runs this job still" if slurm.trains(former.now) else None
    if slurm.runs(former.now):
        return f"Slurm job {former.now} runs this job already"
    first = former.waiting[: former.waiting.index(me)] if me in former.waiting else former.waiting
    there = next((job for job in first if slurm.waits(job) or slurm.runs(job)), None)
    return f"Slurm job {there} makes the next attempt" if there else None


def is_resumed(job_dir: str, me: str, former: Link) -> bool:
    """Whether a person's `resume` has submitted this very Slurm job, which has not begun before."""
    return _resumed_as(job_dir) == me != former.now


def passed_on(job_dir: str, me: str) -> bool:
    """Whether a person has resumed the job since Slurm job `me` began: what it has is a later one's now."""
    later = _resumed_as(job_dir)
    first = me.partition("_")[0]  # of an array's task, the array
    return later.isdigit() and first.isdigit() and int(later) > int(first)  # Slurm counts upwards


def _resumed_as(job_dir: str) -> str:
    try:
        with open(os.path.join(job_dir, contract.RESUME), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def over(orders: Order, former: Link) -> Json | None:
    """The recorded end of a chain that has ended: the history's, or exit.json where that could not be written."""
    if orders.limits is None:
        return None
    found: Json | None = None
    for entry in history.read(orders.run_dir):
        if (entry.get("job_id"), entry["attempt"]) == (orders.job_id, former.attempt):
            event = entry.get("event")
            found = entry if event == contract.HISTORY_ENDED else None if event == contract.HISTORY_RESUMED else found
    if found is None or found.get("goes_on") is not False:
        found = read_json(exit_path(orders.job_dir)) or {}
    return found if found.get("goes_on") is False and found.get("attempt") == former.attempt else None


def code_of(end: Json) -> int:
    """The exit code that a recorded end has."""
    return 0 if end.get("state") == contract.COMPLETED else int(end.get("code") or 1)


def dropped(orders: Order, former: Link, me: str) -> str | None:
    """Of a spare job: who has taken the one before it out of the queue, where somebody has; else its node is noted.

    A person who cancels the job that waits wants no further attempt. One that Slurm has started, and that ended before
    it could begin anything, has met a node that is no use to the next one either.
    """
    if former.next is None or me != former.spare:
        return None
    shown = slurm.show(former.next)
    if shown.get("JobState") == "CANCELLED":
        return f"somebody cancelled Slurm job {former.next}, which was to make the next attempt"
    host = shown.get("BatchHost")
    if shown.get("JobState") in _ACCUSED and host and host not in bad_nodes.names(orders.job_root):
        bad_nodes.add(orders.job_root, [host], f"Slurm job {former.next} ended there before it began", orders.job_id)
    return None
