"""Writing exit.json: by the last agent that ends, or by `finish` from a batch script's EXIT trap."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import Callable, Iterable

import contract

from . import (
    backends,
    bad_nodes,
    chain,
    code_archive,
    disk_reserve,
    evidence,
    lost_logs,
    on_checkpoint,
    procs,
    sharing,
    slurm,
    standing,
    stops,
    successors,
    turn,
)
from .files import Json, append_json, as_whole, create_json, read_json, when_full, write_json
from .history import Ended
from .log import complain
from .messages import explained
from .nodes import host_name
from .records import NodeReader, NodeRecord, exit_path, finished_before, read_nodes
from .verdict import complete, judge

_PATIENCE_S = 30.0
_OVER = (contract.COMPLETED, contract.TIMEOUT)  # after which Slurm requeues nothing
_LATE_NODES_S = 5.0  # a network file system shows another node's file late


def settle(job_dir: str, nodes: list[NodeRecord], nnodes: int, code: int | None = None) -> Json:
    """Write exit.json from these records and return what it holds: see `judged` and `put`.

    Raises:
        OSError: it cannot be written.
    """
    return put(job_dir, judged(job_dir, nodes, nnodes, code))


def judged(job_dir: str, nodes: list[NodeRecord], nnodes: int, code: int | None = None) -> Json:
    """What exit.json is to say."""
    asked = stops.asked(job_dir)
    if asked is None and not complete(nodes, nnodes):
        lost_logs.add(job_dir, nodes, os.environ.get("SLURM_JOB_ID", ""), is_step(job_dir))
    verdict = judge(nodes, nnodes, code, asked, finished_since(job_dir, nodes))
    verdict["error"] = explained(verdict["error"], os.environb)
    return verdict


def put(job_dir: str, verdict: Json) -> Json:
    """Write exit.json and return what it holds; every writer but the first leaves it as it is.

    One that was written while nodes were missing is replaced once all of them have ended.

    Raises:
        OSError: it cannot be written.
    """
    path = exit_path(job_dir)
    if create_json(path, verdict, _PATIENCE_S):
        announce(job_dir, verdict)
        return verdict
    present = told_end(read_json(path))
    if present is not None and (present.get("complete") or not verdict["complete"]):
        return present
    write_json(path, verdict, _PATIENCE_S)
    return verdict


def told_end(record: Json | None) -> Json | None:
    """The content of an exit.json, unless that is another program's file, or damaged."""
    if record is None or not isinstance(record.get("state"), str) or as_whole(record.get("code")) is None:
        return None
    return record if record["state"] in contract.ENDED else None


def is_step(job_dir: str) -> Callable[[str], bool]:
    """Whether a line of a log is a step of the job's training."""
    backend = backends.of(read_json(os.path.join(job_dir, contract.AGENT)) or {})
    return lambda line: evidence.is_step(line, backend)


def announce(job_dir: str, verdict: Json) -> None:
    """The end of an attempt, into events.jsonl."""
    details = {key: verdict[key] for key in ("code", "signal", "rank", "node", "error", "step")}
    event = {"time": time.time(), "state": contract.EVENT_ENDED, "result": verdict["state"], **details}
    with contextlib.suppress(OSError):  # exit.json tells the same
        append_json(os.path.join(job_dir, contract.EVENTS), [event])


def main(job_dir: str, code: int | None) -> int:
    """The `finish` command: exit with the job's code, 2 where there is no such job."""
    foreign = None if os.path.isdir(job_dir) else f"{job_dir}: no such job directory"
    foreign = foreign or standing.of_directory(job_dir)
    if foreign:
        complain(foreign)
        return contract.CANNOT_BE_USED
    when_full(lambda: disk_reserve.release(job_dir))
    sharing.follow_job(job_dir)
    if under_slurm() and contract.ATTEMPT_VAR not in os.environ and chain.read(job_dir) is not None:
        complain("no attempt was begun here: nothing is written down")
        return code or 1
    attempt = chain.last_attempt(job_dir, os.environ) if under_slurm() else None
    if attempt is not None and chain.superseded(job_dir, attempt):
        complain("a later attempt has begun: nothing is written down here")
        return code or 1
    code_archive.forget(job_dir)
    present = told_end(read_json(exit_path(job_dir)))
    final = present is not None and bool(present.get("complete"))
    nodes = read_nodes(job_dir, attempt) if final else _wait_for_late(job_dir, attempt)
    nnodes = max((node.nnodes for node in nodes), default=1)
    told = code or None if _has_spares(job_dir) else code  # a spare's end tells nothing
    verdict = present if present is not None and final else judged(job_dir, nodes, nnodes, told)
    try:
        result = verdict if final else put(job_dir, verdict)
    except OSError as error:
        complain(f"{contract.EXIT} cannot be written: {error}")
        return _unrecorded(job_dir, nodes, nnodes, verdict, code)
    try:
        goes_on = under_slurm() and _goes_on(job_dir, nodes, nnodes, result)
    except OSError as error:  # a full disk: the next attempt is in the queue already, and decides for itself
        complain(f"what becomes of the job cannot be written down: {error}")
        goes_on = _is_chained(job_dir) or _may_come_again(nodes, nnodes)
    if under_slurm():
        on_checkpoint.last_look(job_dir)
    if not goes_on and not _is_passed_on(job_dir):
        remove_secrets({node.secrets_file for node in nodes if node.secrets_file}, complain)
    if not goes_on or chain.read(job_dir) is None:
        disk_reserve.release(job_dir)
    return int(result["code"])


def _unrecorded(job_dir: str, nodes: list[NodeRecord], nnodes: int, verdict: Json, code: int | None) -> int:
    """The end of an attempt that cannot be written down, and its exit code. Who asks for the state goes by that code,
    and by node 0's record; a chain that has completed shall not start once more."""
    completed, link = verdict["state"] == contract.COMPLETED, chain.read(job_dir)
    again = under_slurm() and not completed and (_is_chained(job_dir) or _may_come_again(nodes, nnodes))
    if not again and not _is_passed_on(job_dir):
        remove_secrets({node.secrets_file for node in nodes if node.secrets_file}, complain)
        if link is not None:
            chain.write_if_possible(job_dir, chain.stop(link, complain), complain)
        orders = chain.order(job_dir)
        if completed and orders is not None and under_slurm():
            successors.settle_after(orders.run_dir, orders.job_id, verdict, complain)
    return 0 if completed and code == 0 else code or int(verdict["code"]) or 1


def _has_spares(job_dir: str) -> bool:
    orders = chain.order(job_dir)
    return orders is not None and orders.spares > 0


def _is_chained(job_dir: str) -> bool:
    orders = chain.order(job_dir)
    return orders is not None and orders.limits is not None


def _goes_on(job_dir: str, nodes: list[NodeRecord], nnodes: int, result: Json) -> bool:
    """Write the attempt's end down, and see to the next one; whether there may be one, which needs the secrets."""
    orders, link = chain.order(job_dir), chain.read(job_dir)
    if orders is None or link is None:
        return _may_come_again(nodes, nnodes)
    end = chain.describe(orders, link.attempt, result, nodes, None)
    if bad_nodes.blamed(end) and result["node"]:
        with contextlib.suppress(OSError):
            bad_nodes.add(orders.job_root, [result["node"]], str(end.error), orders.job_id)
    if orders.limits is None:
        if chain.undecided(result, orders) and slurm.state(link.now) == contract.PREEMPTED:
            # it ended by itself within the GraceTime: Slurm will call that a failure, and forget why
            end = replace(end, state=contract.PREEMPTED, error=contract.MEANINGS[contract.PREEMPTED])
            write_json(exit_path(job_dir), {**result, "state": end.state, "error": end.error}, _PATIENCE_S)
        chain.record(orders, end, link.now, result, None, complain)
        stopped = stops.path_of(job_dir, orders.run_dir) is not None
        again = not stopped and end.state != contract.COMPLETED and _may_come_again(nodes, nnodes)
        if not again or end.state in _OVER:
            _settle_successors(orders, end, None)
        return again
    if chain.undecided(result, orders):
        chain.write(job_dir, chain.go_on(orders, link, complain))
        return True
    decision = chain.judge(orders, end, nodes)
    goes_on = decision is not None and decision.goes_on
    # The record first: it is what a job finds that waits and could not be cancelled, and Slurm may not answer for long.
    chain.record(orders, end, link.now, result, decision, complain)
    if not _is_passed_on(job_dir):
        after = chain.go_on(orders, link, complain) if goes_on else chain.stop(link, complain)
        chain.write_if_possible(job_dir, after, complain)
    if decision is not None and not goes_on:
        _settle_successors(orders, end, decision.why)
    return goes_on


def _settle_successors(orders: chain.Order, end: Ended, why: str | None) -> None:
    """Those that wait for the run's end; the records are written by now, and are what they go by."""
    told = {"state": end.state, "why": why, "error": end.error}
    successors.settle_after(orders.run_dir, orders.job_id, told, complain)


def _is_passed_on(job_dir: str) -> bool:
    """`resume` waits for this batch script, but not for ever."""
    return turn.passed_on(job_dir, slurm.own_id())


def finished_since(job_dir: str, nodes: list[NodeRecord]) -> bool:
    """Whether the run has reached its end during this attempt."""
    spec, before = read_json(os.path.join(job_dir, contract.AGENT)) or {}, finished_before(nodes)
    return before is not None and backends.of(spec).finished(spec.get("run_dir") or job_dir, before)


def _wait_for_late(job_dir: str, attempt: int | None) -> list[NodeRecord]:
    deadline = time.monotonic() + _LATE_NODES_S
    reader = NodeReader(job_dir, attempt)
    while True:
        nodes = reader.look()
        if not nodes or complete(nodes, nodes[0].nnodes) or time.monotonic() > deadline or _all_dead_here(nodes):
            return nodes
        if not under_slurm():  # the one node of an exported job; in a container it is another host
            return nodes
        time.sleep(0.5)


def _all_dead_here(nodes: list[NodeRecord]) -> bool:
    """Whether every agent was of this host and is dead: then nothing is late."""
    host = host_name(os.environ)
    return len(nodes) == nodes[0].nnodes and all(
        node.host == host and not procs.alive(node.agent_pid, node.agent_start) for node in nodes
    )


def under_slurm() -> bool:
    """Whether this process belongs to a Slurm job."""
    return "SLURM_JOB_ID" in os.environ


def _may_come_again(nodes: list[NodeRecord], nnodes: int) -> bool:
    """Whether Slurm may requeue the job: it was stopped from outside, or a node is gone.

    Its next attempt needs the secrets again. Who asks for the job's state once it is over for good removes them.
    """
    return not complete(nodes, nnodes) or any(node.stop for node in nodes)


def remove_secrets(paths: Iterable[str], say: Callable[[str], None]) -> None:
    """Remove files of secrets; `say` gets a line about one that stays."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            say(f"{path}: not removed: {error.strerror}")


def set_aside(job_dir: str) -> None:
    """A job that runs again in its directory: its former exit.json must not be taken for the new one."""
    path = exit_path(job_dir)
    present = read_json(path)
    if present is not None:
        os.replace(path, os.path.join(job_dir, contract.former_exit(present.get("attempt", 0))))
