"""A job of several attempts: each Slurm job runs the same script in the same directory, and two wait for its end.

    JOB_DIR/chain   one line "NOW NEXT ATTEMPT SPARE": the Slurm job that runs or ran last, the one that waits for its
                    end ("-": none), the number of the attempt, from 0, and the one that waits for the end of both

They are submitted when an attempt begins (begin.py), because nobody can promise to be there at its end. The spare one
makes the next attempt where the other ends before its `begin` (a node without Python, a batch script that is killed),
and becomes the next one where it does not. `finish` cancels both where the job is over; one that it cannot cancel finds
that out by itself when it begins.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Callable, Mapping

import contract

from . import backends, bad_nodes, budget, history, known, notify, records, slurm, stops
from .backends import Backend, newest_checkpoint
from .decision import Decision, Limits, decide
from .files import Json, as_number, as_whole, each_line, read_json, write_json, write_text
from .history import Ended
from .records import NodeRecord
from .spec import Spec
from .verdict import vanished

_PATIENCE_S = 30.0
_WAITING = 2  # the next job, and one that takes its place where it does not come as far as to begin


@dataclass(frozen=True)
class Link:
    """What JOB_DIR/chain says."""

    now: str
    next: str | None
    attempt: int
    spare: str | None = None

    @property
    def waiting(self) -> list[str]:
        """The jobs that wait for the end of this one, in their order."""
        return [job for job in (self.next, self.spare) if job is not None]


def read(job_dir: str) -> Link | None:
    """The line, or None where there is none."""
    try:
        with open(_path(job_dir), encoding="utf-8") as file:
            words = file.read().split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(words) not in (3, 4) or not words[2].isdigit():
        return None
    now, following, number, spare = [*words, "-"][:4]
    return Link(now, None if following == "-" else following, int(number), None if spare == "-" else spare)


def write(job_dir: str, link: Link) -> None:
    """Replace the line in one step."""
    spare = f" {link.spare}" if link.spare else ""
    write_text(_path(job_dir), f"{link.now} {link.next or '-'} {link.attempt}{spare}\n", _PATIENCE_S)


def write_if_possible(job_dir: str, link: Link, say: Callable[[str], None]) -> None:
    """The same, at the end of an attempt: what has been done about the waiting jobs is true without the line."""
    try:
        write(job_dir, link)
    except OSError as error:
        say(f"{contract.CHAIN}: {error.strerror}")


def _path(job_dir: str) -> str:
    return os.path.join(job_dir, contract.CHAIN)


def attempt(environ: Mapping[str, str]) -> int:
    """Which attempt this process belongs to: what `begin` has set, else how often Slurm has requeued the job."""
    value = environ.get(contract.ATTEMPT_VAR) or environ.get("SLURM_RESTART_COUNT") or ""
    return int(value) if value.isdigit() else 0


def last_attempt(job_dir: str, environ: Mapping[str, str]) -> int:
    """The last attempt of this Slurm job: that of this process, or a later one that began within it, on a spare."""
    own, orders, link = attempt(environ), order(job_dir), read(job_dir)
    within = orders is not None and orders.spares and link is not None and link.now == slurm.own_id()
    return max(own, link.attempt) if within and link is not None else own


def superseded(job_dir: str, own: int) -> bool:
    """Whether a later attempt has begun: this one was given up, on a node that Slurm could not reach."""
    link = read(job_dir)
    return link is not None and link.attempt > own


@dataclass(frozen=True)
class Order:
    """What of agent.json the chain needs."""

    job_id: str
    job_dir: str
    run_dir: str
    job_root: str
    limits: Limits | None  # None: one attempt, and no other unless Slurm itself requeues the job
    exclude: tuple[str, ...]
    checkpoints: str | None
    backend: Backend
    spares: int = 0

    @property
    def script(self) -> str:
        """What was submitted, and is submitted again."""
        return os.path.join(self.job_dir, contract.SCRIPT)


def order(job_dir: str) -> Order | None:
    """The order in JOB_DIR/agent.json."""
    spec = read_json(os.path.join(job_dir, contract.AGENT))
    if spec is None:
        return None
    chain = spec.get("chain")
    return Order(
        job_id=spec["job_id"],
        job_dir=job_dir,
        run_dir=spec["run_dir"],
        job_root=os.path.dirname(os.path.abspath(job_dir)),
        limits=_limits(chain) if chain else None,
        exclude=tuple(chain["exclude"]) if chain else (),
        checkpoints=spec.get("checkpoint_dir"),
        backend=backends.of(spec),
        spares=spec.get("spares", 0),
    )


def _limits(chain: Json) -> Limits:
    gpu_hours, gpus = (chain.get(key) for key in contract.AGENT_CHAIN_OPTIONAL_KEYS)
    return Limits(chain["jobs"], chain["failures"], gpu_hours, gpus or 0)


def describe(
    orders: Order,
    number: int,
    result: Json,
    nodes: list[NodeRecord],
    reason: str | None,
    asked_slurm: bool = False,
    slurm_s: float | None = None,
) -> Ended:
    """An ended attempt. `reason` is the state in which Slurm ended it, which wins over how the job took that.

    `asked_slurm`: `reason` is its last one, so that a signal without one did not come from Slurm or a person's scancel.
    `slurm_s`: for how many seconds Slurm says that it had its nodes.
    """
    begun = _begun(orders, number) or {}
    if "replaces" in begun:  # Slurm counts from the job's start, with the attempts before
        slurm_s = None
    first = next((node for node in nodes if node.node == 0), None)
    beats = [first.first_step, first.step] if first else []
    steps = _steps(orders, number) or [step for step in beats if step is not None]
    state, error = result["state"], result["error"]
    if reason and state != contract.COMPLETED:
        state = reason
    elif reason is None and asked_slurm and undecided(result, orders):  # srun ends all tasks when one of them is gone
        state, error = contract.FAILED, vanished(nodes) or f"ended by {result['signal']} from outside"
    return Ended(
        attempt=number,
        state=state,
        code=result["code"],
        error=error,
        from_step=steps[0] if steps else None,
        to_step=steps[-1] if steps else None,
        checkpoint=newest_checkpoint(orders.backend, orders.checkpoints),
        save_s=first.save_s if first else None,
        gpu_hours=_gpu_hours(orders, number, nodes, not asked_slurm, reason),
        allocated_s=budget.allocated_s(begun or None, slurm_s, nodes, not asked_slurm),
        known=(result.get("known") or {}).get("id") if error == result["error"] else None,
    )


def _gpu_hours(
    orders: Order, number: int, nodes: list[NodeRecord], runs_still: bool, reason: str | None
) -> float | None:
    if orders.limits is None or orders.limits.gpu_hours is None:
        return None
    begun = _begun(orders, number)
    anew = reason == contract.REQUEUED or "replaces" in (begun or {})  # Slurm's own count is not the attempt's
    asked = "" if anew else str((begun or {}).get("slurm_id") or "")
    return budget.of_attempt(begun, asked, nodes, runs_still)


def _begun(orders: Order, number: int) -> Json | None:
    return budget.begun_line(history.read(orders.run_dir), orders.job_id, number)


def _steps(orders: Order, number: int) -> list[int]:
    """The attempt's first and last step in metrics.jsonl: the heartbeat of a node that was lost is seconds old."""
    entries = [e for e in history.read(orders.run_dir) if e.get("job_id") == orders.job_id]
    begun = [e["time"] for e in entries if e.get("event") == contract.HISTORY_BEGUN and e["attempt"] == number]
    ends: list[int] = []
    for entry in each_line(os.path.join(orders.job_dir, contract.METRICS)) if begun else ():
        step, when = as_whole(entry.get("step")), as_number(entry.get("time"))
        if "loss" in entry and step is not None and when is not None and when >= begun[-1]:
            ends[1:] = [step]
    return ends


def judge(orders: Order, end: Ended, nodes: list[NodeRecord]) -> Decision | None:
    """Whether a chained job goes on after this end, of these nodes; None where it has one attempt only."""
    if orders.limits is None:
        return None
    entries = history.read(orders.run_dir)
    before = [other for other in history.ends(entries, orders.job_id) if other.attempt < end.attempt]
    mark = records.finished_before(nodes)
    finished = mark is not None and orders.backend.finished(orders.run_dir, mark)
    stopped = stops.told(orders.job_dir, orders.run_dir)
    used_up = _used_up(orders, entries, end)
    return decide([*before, end], orders.limits, finished, stopped, orders.backend.final_codes, used_up)


def _used_up(orders: Order, entries: list[Json], end: Ended) -> str | None:
    """Whether max_gpu_hours leaves nothing for a further attempt, as far as this one's number of GPUs is another's."""
    limits = orders.limits
    if limits is None or limits.gpu_hours is None:
        return None
    others = [e for e in entries if e["attempt"] != end.attempt]
    begun = budget.begun_line(entries, orders.job_id, end.attempt) or {}
    hours = budget.used(others, orders.job_id) + (end.gpu_hours or 0.0)
    found = budget.used_up(limits.gpu_hours, hours, begun.get("gpus") or limits.gpus)
    if found is None and end.error == contract.OUT_OF_BUDGET:  # its ranks had to save early; nobody starts for the rest
        return f"{contract.OUT_OF_BUDGET}: {hours:.3g} of {limits.gpu_hours:g}"
    return found


def record(
    orders: Order,
    end: Ended,
    slurm_id: str,
    result: Json,
    decision: Decision | None,
    say: Callable[[str], None],
    when: float | None = None,
    tells: bool = True,
) -> None:
    """Write an end down: into the run's history and, with what becomes of the job, into exit.json.

    `when`: where that was not now; `tells`: those whom the profile names are told.
    """
    details: Json = {"slurm_id": slurm_id, **{key: result[key] for key in ("rank", "node")}}
    details["time"] = time.time() if when is None else when
    if decision is not None:
        details.update(goes_on=decision.goes_on, why=decision.why)
        say(("another attempt follows: " if decision.goes_on else "no further attempt: ") + decision.why)
    signature = known.get(end.known)
    details["cause"] = signature.cause if signature else None
    details.update(history.told_restarts(orders.job_dir, end.attempt))
    values = {key: value for key, value in vars(end).items() if key not in ("attempt", "replaced")}
    try:
        history.add(orders.run_dir, contract.HISTORY_ENDED, orders.job_id, end.attempt, **values, **details)
    except OSError as error:
        say(f"{contract.HISTORY}: {error.strerror}")
    if decision is not None:
        _record_decision(orders, end, result, decision, say)
    if tells:
        notify.ended(orders.job_dir, end, decision, result, slurm_id, say)


def _record_decision(orders: Order, end: Ended, result: Json, decision: Decision, say: Callable[[str], None]) -> None:
    try:
        values = {**result, "state": end.state, "goes_on": decision.goes_on, "why": decision.why}
        write_json(records.exit_path(orders.job_dir), values, _PATIENCE_S)
    except OSError as error:
        say(f"{contract.EXIT}: {error.strerror}")


def undecided(result: Json, orders: Order) -> bool:
    """A signal has ended it and no stop file says why: Slurm knows, but only once the job is over."""
    return result["state"] == contract.CANCELLED and stops.path_of(orders.job_dir, orders.run_dir) is None


def go_on(orders: Order, link: Link, say: Callable[[str], None]) -> Link:
    """See to it that the next job and the spare one wait, away from nodes that are known as bad."""
    exclude = excluded(orders)
    waiting = [job for job in link.waiting if slurm.waits(job) is not False]  # Slurm may not answer: then it stays
    for job in waiting if exclude else ():
        try:
            slurm.exclude(job, exclude)
        except slurm.SlurmError as error:  # it would leave too few nodes, say
            say(f"Slurm job {job} may get a bad node again: {error}")
    while len(waiting) < _WAITING:
        try:
            waiting.append(slurm.submit_next(orders.script, [link.now, *waiting], exclude))
        except slurm.SlurmError as error:
            what = f"a spare job behind Slurm job {waiting[0]}" if waiting else "the next attempt"
            say(f"{what} cannot be submitted: {error}")
            break
    following, spare, *_ = [*waiting, None, None]
    return replace(link, next=following, spare=spare)


def excluded(orders: Order) -> list[str]:
    """The profile's own nodes to exclude, and the cluster's bad ones."""
    return sorted({*orders.exclude, *bad_nodes.names(orders.job_root)})


def stop(link: Link, say: Callable[[str], None]) -> Link:
    """Take the jobs that wait out of the queue."""
    if not link.waiting:
        return link
    try:
        slurm.cancel(link.waiting[::-1])
    except slurm.SlurmError as error:  # they will find out by themselves when they begin
        say(f"Slurm job {' and '.join(link.waiting)} stays in the queue, and ends as soon as it starts: {error}")
        return link
    return replace(link, next=None, spare=None)


def note_beginning(spec: Spec, node: NodeRecord, say: Callable[[str], None]) -> None:
    """Into the run's history, by the first agent of a job that no batch script has begun."""
    try:
        os.makedirs(spec.run_dir, exist_ok=True)
        checkpoint = newest_checkpoint(backends.get(spec.backend), spec.checkpoint_dir)
        details = {"slurm_id": None, "nodes": [node.host], "checkpoint": checkpoint}
        history.add(spec.run_dir, contract.HISTORY_BEGUN, spec.job_id, node.attempt, **details)
    except OSError as error:
        say(f"{contract.HISTORY}: {error.strerror}")


def note_end(
    job_dir: str, nodes: list[NodeRecord], result: Json, say: Callable[[str], None], when: float | None = None
) -> None:
    """The same for the end, by the last one; `when`: see `record`."""
    orders = order(job_dir)
    if orders is not None:
        record(orders, describe(orders, nodes[0].attempt, result, nodes, None), "", result, None, say, when)
