"""Jobs that wait for the end of this run: held in Slurm's queue, and noted in RUN_DIR/after/JOB_ID.json.

The last attempt lets them go where the run has completed, and cancels them, with those that wait for them in turn,
where it has ended in another way; but for those to which a failure is an end, too (of points of a sweep): these are
cancelled where all points have ended and none has completed. A paused run has not ended: they stay held. Nothing is
needed of a launcher; one that looks at such a job does the same (automodel_launch/launch/waiting.py), where nobody here
could.

While slurmctld does not answer it is asked again: it cannot give this job's nodes to anybody in that time either.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable

import contract

from . import choosing, history, predecessors, slurm
from .files import Json, create_json, read_json
from .records import exit_path

PATIENCE_S, _EVERY_S = 600.0, 5.0
Say = Callable[[str], None]


def settle_after(run_dir: str, job_id: str, end: Json, say: Say) -> None:
    """See `settle`, after the end of its last job: its `state`, and `why` or `error`."""
    said = end.get("why") or end.get("error")
    settle(run_dir, history.completes(end), f"{job_id} ({end.get('state')}{f': {said}' if said else ''})", say)


def settle(run_dir: str, completed: bool, why: str, say: Say) -> None:
    """The run has ended: let those that wait for it go, or cancel them. `why` says how it has ended."""
    if not completed and os.path.exists(os.path.join(run_dir, contract.STOP)):
        return
    folder = os.path.join(run_dir, contract.SUCCESSORS)
    end = time.monotonic() + PATIENCE_S
    for name in _names(folder):
        path = os.path.join(folder, name)
        job_dir = str((read_json(path) or {}).get("job_dir") or "")
        if not os.path.isdir(job_dir) or _has_begun(job_dir):
            _remove(path)
        elif _is_being_submitted(job_dir):  # the note stays: its launcher looks once more when Slurm has it
            continue
        elif completed or _takes_failure(job_dir, run_dir):
            if not predecessors.unfinished(job_dir) and _asked(lambda job=job_dir: _decide(job, say), end, say):  # type: ignore[misc]
                _remove(path)
        elif _asked(lambda job=job_dir: _cancel(job, why, say), end, say):  # type: ignore[misc]
            _remove(path)


def refuse(job_dir: str, why: str) -> None:
    """Write down that a job has ended before it began, unless it has ended already."""
    record = contract.ended_before_it_began(os.path.basename(job_dir), why, time.time())
    with contextlib.suppress(OSError):
        create_json(exit_path(job_dir), record)


def _decide(job_dir: str, say: Say) -> bool:
    none = choosing.none_completed(job_dir)
    return _release(job_dir) if none is None else _cancel(job_dir, none, say)


def _release(job_dir: str) -> bool:
    waiting = slurm.waiting_in(job_dir)
    if waiting:
        slurm.release(waiting)
    return waiting is not None


def _cancel(job_dir: str, why: str, say: Say) -> bool:
    refuse(job_dir, f"it was to follow {why}")
    waiting = slurm.waiting_in(job_dir)
    if waiting:
        slurm.cancel(waiting)
    if waiting is None:
        return False
    _remove(os.path.join(job_dir, contract.SECRETS))
    run_dir = (read_json(os.path.join(job_dir, contract.AGENT)) or {}).get("run_dir")
    if isinstance(run_dir, str):
        settle(run_dir, False, f"{os.path.basename(job_dir)} (CANCELLED)", say)
    return True


def _asked(act: Callable[[], bool], end: float, say: Say) -> bool:
    """Do it, again and again while Slurm does not answer; whether it was done."""
    while True:
        try:
            if act():
                return True
            refused = "Slurm does not answer"
        except slurm.SlurmError as error:
            refused = str(error)
            if slurm.answers():
                say(f"a job that waits for this one is left as it is: {refused}")
                return False
        if time.monotonic() > end:
            say(f"a job that waits for this one is left as it is: {refused}")
            return False
        time.sleep(_EVERY_S)


def _takes_failure(job_dir: str, run_dir: str) -> bool:
    if not predecessors.takes_failure(job_dir, run_dir):
        return False
    with contextlib.suppress(OSError):  # then it stays held, and who looks at it sees how the run has ended
        predecessors.note_failure(job_dir, run_dir)
    return True


def _is_being_submitted(job_dir: str) -> bool:
    return slurm.waiting_in(job_dir) == [] and not os.path.exists(exit_path(job_dir))


def _has_begun(job_dir: str) -> bool:
    return os.path.exists(os.path.join(job_dir, contract.CHAIN))


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return []


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
