"""A profile of some steps of a training that runs; rank 0 hears of it by a file (recipes/pretrain_lib/profiling.py).

The ranks write their traces below the job's directory, and beside each, last, a record of what they have measured.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.jobs.jobdir import JobDir, parse
from automodel_launch.jobs.records import Record, Status, is_number, is_whole
from automodel_launch.launch import requests, state
from automodel_launch.launch.pace import Pace

PATIENCE_S = 180.0  # without a further rank's record, once the training is past the last step
LAG = 0.05  # of a step: by that much longer than the median a rank has to compute before it is named

Say = Callable[[str], None]
IsLeft = Callable[[], bool]


@dataclass(frozen=True)
class Wanted:
    """What to profile. `first`: none for the next possible step; `ranks`: none for all of them."""

    first: int | None
    steps: int
    ranks: tuple[int, ...] | None
    trace: bool = True


@dataclass(frozen=True)
class Profile:
    """What has come of it.

    Attributes:
        folder: where the traces lie, on the side where the job runs.
        rows: what each rank has written, objects of contract.PROFILE_RANK_KEYS, by rank.
        missing: ranks that have written nothing.
    """

    first: int
    steps: int
    folder: str
    rows: list[dict[str, Any]]
    missing: list[int] = field(default_factory=list)


def profile(record: Record, now: Status, wanted: Wanted, say: Say, is_left: IsLeft) -> Profile | None:
    """Ask for it, and wait until all its ranks have written it; None where somebody has left before.

    Raises:
        JobError: the job has no ranks, or not these; it does not hear such requests, cannot do this, or ends before.
        ClusterError: its place cannot be reached, or nothing comes.
    """
    job, node = requests.training(record, now)
    (able,) = requests.answers(job, [contract.PROFILER])
    if able.get("what") != contract.PROFILE or requests.is_old(able, node):
        raise _deaf(record, node)
    ranks = _ranks(record, job, wanted)
    _free(record, job, able)
    waiting = _Waiting(record, job, able.get("time"), is_left)
    answer = waiting.answer(_ask(job, wanted))
    if answer is None:
        return None
    first, steps, folder = answer["first"], answer["steps"], str(answer["folder"])
    step = job.last_metrics() or {}
    at = f"; it is at step {step['step']}" if is_whole(step.get("step")) else ""
    say(f"{record.job_id} profiles {named(first, steps)} of {_counted(ranks)}{at}")
    missing = waiting.ranks(answer, ranks)
    if missing is None:
        return None
    present = [rank for rank in ranks if rank not in set(missing)]
    found = job.place.read_many([(f"{folder}/{contract.PROFILE_RECORD.format(rank)}", 0) for rank in present])
    rows = [row for each in found if each and (row := read_row(each[0]))]
    if not rows:
        past = f"within {PATIENCE_S:.0f} s of step {first + steps - 1}"
        message = f"{record.job_id}: no rank has written its profile {past}."
        raise ClusterError(message, f"a full disk? See {folder} and the ranks' logs")
    if all(row.get("error") for row in rows):
        raise JobError(f"{record.job_id} was not profiled: {rows[0]['error']}.")
    return Profile(first, steps, folder, rows, missing)


def _deaf(record: Record, node: dict[str, Any]) -> JobError:
    if node.get("step") is None:
        at = f" ({node['phase']})" if isinstance(node.get("phase"), str) else ""
        message = f"{record.job_id} has not come to its first step{at}; ask again then."
        return JobError(message, f"python launch.py status {record.job_id} -w")
    message = f"{record.job_id} cannot be profiled: its recipe does not hear of such requests."
    return JobError(
        message, "trainings of AutoModel and Megatron-Bridge do, unless their signal handler is switched off"
    )


def slowest(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], float] | None:
    """The rank that the others wait for, and by how many seconds a step; None where no rank stands out.

    It is the one with most time outside of collectives in each of several steps, by more than LAG of a step longer than
    the median of the others.
    """
    import statistics  # which imports random and decimal

    told = [(row, row["outside_s"]) for row in rows if row.get("step_s") and isinstance(row.get("outside_s"), list)]
    steps = min((len(each) for _, each in told), default=0)
    if len(told) < 2 or steps < 2:
        return None
    slow, own = max(told, key=lambda one: float(one[1][0]))
    others = [each for row, each in told if row is not slow]
    lags = [float(own[step]) - statistics.median(each[step] for each in others) for step in range(steps)]
    first_always = all(own[step] > max(each[step] for each in others) for step in range(steps))
    lag = statistics.median(lags)
    return (slow, lag) if first_always and lag >= LAG * slow["step_s"] else None


def named(first: int, steps: int) -> str:
    """Steps, for people."""
    return f"step {first}" if steps == 1 else f"steps {first} to {first + steps - 1}"


def _counted(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks"


def _ranks(record: Record, job: JobDir, wanted: Wanted) -> list[int]:
    """The ranks that are to be profiled.

    Raises:
        JobError: the job does not have one of them.
    """
    order = job.agent_order() or {}
    nodes, on_each = order.get("nnodes"), order.get("nproc_per_node")
    world = nodes * on_each if is_whole(nodes) and is_whole(on_each) else len(job.ranks())
    odd = next((rank for rank in wanted.ranks or () if rank >= world), None)
    if odd is not None:
        raise JobError(f"{record.job_id} has no rank {odd}; ranks: 0 to {world - 1}.")
    return sorted(wanted.ranks) if wanted.ranks is not None else list(range(world))


def _free(record: Record, job: JobDir, able: dict[str, Any]) -> None:
    """Is no other profile asked for? A file that is put in the place of its request would withdraw that.

    Raises:
        JobError: one is.
    """
    path = job.file(contract.PROFILE_REQUEST)
    other = (parse((job.place.read(path) or (b"",))[0]) or {}).get("id")
    (told,) = requests.answers(job, [f"{contract.PROFILER}-{other}"]) if isinstance(other, str) else ({},)
    first, steps, step = told.get("first"), told.get("steps"), (job.last_metrics() or {}).get("step")
    if told.get("error") or not is_whole(first) or not is_whole(steps) or not told.get("time", 0) >= able["time"]:
        return
    written = isinstance(told.get("folder"), str) and job.place.names(told["folder"])  # the log may lag behind
    if not written and (not is_whole(step) or step < first):
        taken = f"another profile is asked for already, of {named(first, steps)}"
        raise JobError(f"{record.job_id}: {taken}; rm {path} withdraws that.")


def read_row(content: bytes) -> dict[str, Any] | None:
    """A rank's record, with every key; what is not of its kind is null. None where it is no such thing."""
    row = parse(content)
    if row is None or not is_whole(row.get("rank")):
        return None
    told = dict.fromkeys(contract.PROFILE_RANK_KEYS) | {key: row.get(key) for key in contract.PROFILE_RANK_KEYS}
    each = told["outside_s"]
    step_s = told["step_s"]
    whole = isinstance(each, list) and bool(each) and all(map(is_number, each)) and is_number(step_s) and step_s > 0
    told |= {} if whole else {"step_s": None, "outside_s": None}
    told |= {key: None for key in ("host", "gpu", "trace", "error") if not isinstance(told[key], str)}
    return told | {key: None for key in ("steps", "bytes") if not is_whole(told[key])}


def _ask(job: JobDir, wanted: Wanted) -> str:
    number = f"{time.time():.0f}-{secrets.token_hex(4)}"
    ranks = None if wanted.ranks is None else list(wanted.ranks)
    values = (number, contract.PROFILE, time.time(), wanted.first, wanted.steps, ranks, wanted.trace)
    told = dict(zip(contract.PROFILE_REQUEST_KEYS, values, strict=True))
    job.place.put(str(job.path), {}, {contract.PROFILE_REQUEST: json.dumps(told) + "\n"})
    return number


@dataclass
class _Waiting:
    """Looks again and again. `heard`: when this training has told that it hears requests."""

    record: Record
    job: JobDir
    heard: object
    is_left: IsLeft
    pace: Pace | None = None

    def answer(self, number: str) -> dict[str, Any] | None:
        """What is going to be done; None where somebody has left.

        Raises:
            JobError: it cannot be done.
        """
        while not self.is_left():
            able, told = requests.answers(self.job, [contract.PROFILER, f"{contract.PROFILER}-{number}"])
            if told.get("id") == number:
                if told.get("error") or not is_whole(told.get("first")) or not is_whole(told.get("steps")):
                    raise JobError(f"{self.record.job_id}: {told.get('error') or 'its answer cannot be read'}.")
                return told
            asked = parse((self.job.place.read(self.job.file(contract.PROFILE_REQUEST)) or (b"",))[0]) or {}
            if asked.get("id") != number:
                raise JobError(f"{self.record.job_id}: another request has taken the place of this one; ask again.")
            self._look(able)
        return None

    def ranks(self, answer: dict[str, Any], wanted: Sequence[int]) -> list[int] | None:
        """The ranks that have written nothing when all is over; None where somebody has left.

        Raises:
            JobError: it was withdrawn, or the training has ended, or has been started again, before.
        """
        folder, last = str(answer["folder"]), answer["first"] + answer["steps"] - 1
        missing, changed = set(wanted), time.monotonic()
        while not self.is_left():
            present = set(self.job.place.names(folder))
            left = {rank for rank in missing if contract.PROFILE_RECORD.format(rank) not in present}
            if not left:
                return []
            step = (self.job.last_metrics() or {}).get("step")
            if left != missing or not is_whole(step) or step <= last:
                missing, changed = left, time.monotonic()
            if time.monotonic() - changed > PATIENCE_S:
                return sorted(left)
            able, told = requests.answers(self.job, [contract.PROFILER, f"{contract.PROFILER}-{answer['id']}"])
            if told.get("error"):
                raise JobError(f"{self.record.job_id}: {told['error']}.")
            self._look(able)
        return None

    def _look(self, able: dict[str, Any]) -> None:
        """Is the training the one that was asked?"""
        if able.get("time") != self.heard:
            message = f"{self.record.job_id} has begun again since: what was asked for is forgotten."
            raise JobError(message, f"python launch.py profile {self.record.job_id} asks for it again")
        self.pace = self.pace or Pace(executors.get(self.record.executor).poll_s)
        if self.pace.due:
            now = state.of(self.record)
            self.pace.note(now)
            if now.over:
                message = f"{self.record.job_id} has ended before the profile was written: {now.state}."
                raise JobError(message, f"python launch.py status {self.record.job_id}")
        time.sleep(max(requests.LOOK_S, executors.get(self.record.executor).poll_s))
