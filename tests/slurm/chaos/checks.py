"""What must hold when a run is over: nothing in the queue, no process left, no secret, the right losses, one story."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.slurm.chaos import leaks, story, truth
from tests.slurm.chaos.case import Case, ChaosRun
from tests.slurm.chaos.nodes import NODES, command_line
from tests.slurm.chaos.place import MARK, read_json
from tests.slurm.chaos.tally import LIE, LOST, ORPHAN, Finding

QUIET_S = 40.0  # for what was cut off to see that it was given up
QUEUE_S = 180.0  # Slurm takes a minute or two over a job that has ended while slurmctld was away


def after_a_fault(case: Case) -> Iterator[Finding]:
    """Of a run that may still train."""
    known = {str(row["job_dir"]) for row in case.rows()}
    for job in truth.strangers(case.place, known, truth.slurm_jobs(case.place) or []):
        yield Finding(LOST, f"`jobs` shows no record of Slurm job {job.id} {job.state} {job.name}")
    yield from leaks.find(case.place, job_lives=True)


def after_a_run(case: Case) -> Iterator[Finding]:
    """Of a run that has finished, or was given up."""
    yield from _queue(case)
    yield from _processes(case)
    yield from leaks.find(case.place, job_lives=False)
    if case.run is not None:
        yield from _records(case, case.run)


def _queue(case: Case) -> Iterator[Finding]:
    if case.until(lambda: not case.live(), QUEUE_S, "an empty queue"):
        return
    left = [f"{job.id} {job.state} ({job.reason})" for job in case.live()]
    yield Finding(LOST, f"the run is over, and Slurm still has {left}")
    case.cluster.run("scancel", *(str(job.id) for job in case.live()))
    case.until(lambda: not case.live(), QUIET_S, "an empty queue")


def _processes(case: Case) -> Iterator[Finding]:
    case.until(lambda: not (_left_on_nodes(case) or _left_here(case)), QUIET_S, "no processes")
    left = {**_left_on_nodes(case), **_left_here(case)}
    for pid, line in left.items():
        yield Finding(ORPHAN, f"this process is left: {line[:200]}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _left_on_nodes(case: Case) -> dict[int, str]:
    return {pid: f"c{node}: {line}" for node in NODES for pid, line in case.cluster.of_jobs(node).items()}


def _left_here(case: Case) -> dict[int, str]:
    """What the launcher has started: all of it has the mark in its environment, jobs have not."""
    mark = f"{MARK}={case.place.root.name}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0") and (line := command_line(folder)):
                found[int(folder.name)] = line
        except OSError:
            continue
    return found


def _records(case: Case, run: ChaosRun) -> Iterator[Finding]:
    entries = story.read_lines(run.run_dir / "history.jsonl")
    yield from story.of_history(entries)
    if not (run.run_dir / "finished.json").exists():
        return
    yield from story.of_losses(story.read_lines(run.dir / "metrics.jsonl"), case.config, 2)
    own, ends = read_json(run.dir / "exit.json") or {}, [e["state"] for e in run.history("ended")]
    said = case.site.json("status", run.id)
    states = {"exit.json": own.get("state"), "history.jsonl": ends[-1] if ends else None, "status": said["state"]}
    if set(states.values()) != {"COMPLETED"}:
        yield Finding(LIE, f"the run has finished, and the states of its job are {states}")
    shown = [row.get("state") for row in said["history"]]
    attempts = len({(e["job_id"], e["attempt"]) for e in entries})
    if len(shown) != attempts:
        yield Finding(LIE, f"`status` shows {len(shown)} attempts ({shown}), the history has {attempts}")
