"""What a person asks of a job that runs, by a file in its directory: the stacks of all ranks, or a checkpoint now.

Who does it (each node's agent, or the training) writes an answer beside it. Nothing is sent to a process from here, so
it is the same on this machine, in a container and on a cluster.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.jobs.jobdir import JobDir, parse
from automodel_launch.jobs.records import Record, Status, is_whole
from automodel_launch.launch import state
from automodel_launch.launch.tails import Tail, new_lines

LOOK_S = 1.0
STACKS_S = 90.0  # two looks of an agent, py-spy's and faulthandler's time, and a slow file system

Answer = dict[str, Any]


def training(record: Record, now: Status) -> tuple[JobDir, dict[str, Any]]:
    """The directory of a job that trains, with node 0's record.

    Raises:
        JobError: it does not, now.
        ClusterError: its place cannot be reached.
    """
    if now.over:
        raise JobError(f"{record.job_id} has ended: {now.state}.", f"python launch.py status {record.job_id}")
    job = JobDir(record.job_dir, executors.get(record.executor).place_of(record))
    node = job.node(0) or {}
    if now.state != contract.RUNNING or not node.get("ranks"):
        phase = node.get("phase") if now.state == contract.RUNNING else None
        told = now.reason or now.error or (phase if isinstance(phase, str) else None)
        why = f": {told}" if told else ""
        raise JobError(
            f"{record.job_id} has no ranks now ({now.state}{why}).", f"python launch.py status {record.job_id}"
        )
    return job, node


def ask(job: JobDir, what: str) -> str:
    """Leave a request in place of the last one; its id.

    Raises:
        ClusterError: the job's directory cannot be written.
    """
    number = f"{time.time():.0f}-{secrets.token_hex(4)}"
    told = dict(zip(contract.REQUEST_KEYS, (number, what, time.time()), strict=True))
    job.place.put(str(job.path), {}, {contract.REQUEST: json.dumps(told) + "\n"})
    return number


def answers(job: JobDir, who: Sequence[str]) -> list[Answer]:
    """What each has answered last; empty where nobody has."""
    found = job.place.read_many([(job.file(f"{contract.ANSWERS}/{one}.json"), 0) for one in who])
    return [parse(each[0]) or {} if each else {} for each in found]


def wait(
    record: Record, job: JobDir, number: str, who: Sequence[str], patience_s: float | None, is_left: Callable[[], bool]
) -> list[Answer]:
    """Wait until all have answered: their answers. Fewer where the patience is over, none where somebody has left.

    Raises:
        JobError: the job has ended before.
        ClusterError: its place cannot be reached.
    """
    end = None if patience_s is None else time.monotonic() + patience_s
    while not is_left():
        told = [one for one in answers(job, who) if one.get("id") == number]
        if len(told) == len(who) or (end is not None and time.monotonic() > end):
            return told
        now = state.of(record)
        if now.over:
            raise JobError(
                f"{record.job_id} has ended meanwhile: {now.state}.", f"python launch.py status {record.job_id}"
            )
        time.sleep(max(LOOK_S, executors.get(record.executor).poll_s))
    return []


def stacks(
    record: Record, now: Status, say: Callable[[str], None], is_left: Callable[[], bool]
) -> list[tuple[int, list[str]]]:
    """(rank, lines) of where each rank is now; also logs/stack-N.txt holds it.

    Raises:
        JobError: the job has no ranks, or has ended.
        ClusterError: no agent answers, or its place cannot be reached.
    """
    job, node = training(record, now)
    nodes = node["nnodes"] if is_whole(node.get("nnodes")) else 1
    ranks = job.ranks()
    paths = {rank: job.file(contract.stack_file(rank)) for rank in ranks}
    before = job.place.read_many([(path, -1) for path in paths.values()])
    number = ask(job, contract.REQUEST_STACKS)
    say(f"asking the agents of {record.job_id} for the stacks of its ranks ...")
    told = wait(record, job, number, [f"node-{n}" for n in range(nodes)], STACKS_S, is_left)
    if not told and not is_left():
        message = f"{record.job_id}: no agent has answered within {STACKS_S:.0f} s."
        raise ClusterError(
            message, "agents look every second, if they see its directory; those of an earlier version never do"
        )
    if len(told) < nodes:
        say(f"{nodes - len(told)} of {nodes} nodes have not answered within {STACKS_S:.0f} s")
    tails = {
        rank: Tail(paths[rank], offset=each[1] if each else 0, place=job.place)
        for rank, each in zip(paths, before, strict=True)
    }
    found: dict[int, list[str]] = {}
    for rank, line in new_lines(tails, job.place, last=True):
        found.setdefault(rank, []).append(line)
    return sorted(found.items())


def save(
    record: Record, now: Status, say: Callable[[str], None], is_left: Callable[[], bool]
) -> tuple[int, str | None] | None:
    """Have the training save a checkpoint and go on: the step, from 0, and the checkpoint's path where that is known.

    None where somebody has left before; it saves all the same.

    Raises:
        JobError: the job has no ranks, ends before, or its training does not hear such requests.
        ClusterError: its place cannot be reached.
    """
    job, node = training(record, now)
    (able,) = answers(job, [contract.TRAINING])
    if able.get("what") != contract.REQUEST_SAVE or is_old(able, node):
        message = f"{record.job_id} does not save on request: its recipe cannot, or it has not come to its first step."
        raise JobError(
            message, f"`pause {record.job_id}` saves and ends it; `resume {record.job_id}` goes on from there"
        )
    number = ask(job, contract.REQUEST_SAVE)
    say(f"{record.job_id} saves after its current step ...")
    told = wait(record, job, number, [contract.TRAINING], None, is_left)
    step = told[0].get("step") if told else None
    return (step, _checkpoint(job, step)) if is_whole(step) else None


def is_old(able: Answer, node: dict[str, Any]) -> bool:
    """Whether it was written by an attempt before this one."""
    return float(able.get("time") or 0.0) < float(node.get("started") or 0.0)


def _checkpoint(job: JobDir, step: int) -> str | None:
    folder = (job.agent_order() or {}).get("checkpoint_dir")
    return next(_of_step(job, str(folder), step), None) if folder else None


def _of_step(job: JobDir, folder: str, step: int) -> Iterator[str]:
    return (f"{folder}/{name}" for name in job.place.names(folder) if contract.checkpoint_step(name) == step)
