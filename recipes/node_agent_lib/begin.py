"""`begin`: what the batch script does before its step. Prints shell lines for the script to evaluate.

A Slurm job that finds its job over, or another one at it, ends at once and touches nothing. Else it closes the attempt
before this one where nobody could (its node died), decides whether there is anything left to do, queues the next
attempt, and tells the step which attempt it is and when its time is over. Where it fails the job still runs, as a
single attempt.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from dataclasses import replace

import contract

from . import (
    bad_nodes,
    chain,
    choosing,
    code_archive,
    disk_reserve,
    history,
    meeting,
    on_checkpoint,
    predecessors,
    seats,
    sharing,
    slurm,
    standing,
    stops,
    successors,
    times,
    turn,
)
from .backends import newest_checkpoint
from .chain import Link, Order
from .decision import Decision
from .files import when_full
from .finish import judged, put, set_aside
from .log import complain
from .nodes import expand
from .records import read_nodes
from .verdict import vanished

_ALONE = "trap - EXIT"  # `finish` has nothing to write down
_RESUME = "`launch.py resume` starts it again"


def main(job_dir: str) -> int:
    """The `begin` command; always 0."""
    foreign = standing.of_directory(job_dir, *_submitted_from())
    if foreign:
        complain(foreign)
        print(f"trap - EXIT\nexit {contract.CANNOT_BE_USED}")
        return 0
    when_full(lambda: disk_reserve.release(job_dir))
    sharing.follow_job(job_dir)
    try:
        lines = _lines(job_dir)
    except Exception:  # a full disk, say
        complain("begin: " + traceback.format_exc())
        lines = _without_a_chain(job_dir)
    print("\n".join([*lines, *meeting.exports(job_dir)]))
    return 0


def _submitted_from() -> list[str]:
    """The directory of the script that was handed to Slurm, which runs a copy of it."""
    script = slurm.command(slurm.own_id())
    return [os.path.dirname(script)] if script else []


def _without_a_chain(job_dir: str) -> list[str]:
    """The attempt's number at least: under a former one's the agents would take themselves for given up."""
    former = chain.read(job_dir)
    if former is None:
        return []
    begun = former.now == slurm.own_id()
    return [f"export {contract.ATTEMPT_VAR}={former.attempt + (0 if begun else 1)}"]


def _lines(job_dir: str) -> list[str]:
    orders = chain.order(job_dir)
    me = slurm.own_id()
    if orders is None or not me:
        return []
    former = chain.read(job_dir)
    if former is not None:
        code = _not_again(orders, former, me)
        if code is not None:
            return [_ALONE, f"exit {code}"]
    elif stops.path_of(orders.job_dir, orders.run_dir):
        why = f"{orders.job_id} ({contract.CANCELLED}: it was stopped before it began)"
        successors.settle(orders.run_dir, False, why, complain)
        return [f"exit {contract.TERMINATED}"]
    else:
        refused = predecessors.refusal(orders.job_dir) or choosing.settle(orders.job_dir)
        set_aside(orders.job_dir)  # of a job that was cancelled while it waited for another one, and resumed
        if refused:
            return _refuse(orders, refused)
    return _start(orders, me, former)


def _refuse(orders: Order, why: str) -> list[str]:
    """What it was to wait for has not completed, as somebody has let it go by hand; or has left it nothing to take."""
    complain(f"{why}; {_RESUME}")
    successors.refuse(orders.job_dir, why)
    successors.settle(orders.run_dir, False, f"{orders.job_id} (CANCELLED: {why})", complain)
    return [_ALONE, f"exit {contract.TERMINATED}"]


def _not_again(orders: Order, former: Link, me: str) -> int | None:
    """The exit code with which this Slurm job ends at once; None where it makes the next attempt."""
    other = turn.of_another(former, me)
    if other:
        complain(f"{other}: nothing to do here")
        return 0
    link = _successor(former, me, former.attempt)
    end, resumed = turn.over(orders, former), turn.is_resumed(orders.job_dir, me, former)
    if end is not None and not resumed:
        complain(f"the job is over: {end.get('why') or end.get('state')}; {_RESUME}")
        chain.stop(link, complain)
        successors.settle_after(orders.run_dir, orders.job_id, end, complain)
        return turn.code_of(end)
    code = None
    if end is None:
        code = _close(orders, former, turn.dropped(orders, former, me))
        end = turn.over(orders, former) if code is not None and resumed else None
    if end is not None:
        code = _reopen(orders, former, end.get("error"), turn.code_of(end))
    if code is not None:
        disk_reserve.release(orders.job_dir)
        chain.write_if_possible(orders.job_dir, chain.stop(link, complain), complain)
        end = turn.over(orders, former)
        if end is not None:  # its own attempt could not, with its node gone or slurmctld away for long
            successors.settle_after(orders.run_dir, orders.job_id, end, complain)
    return code


def _reopen(orders: Order, former: Link, error: str | None, code: int) -> int | None:
    """A person has resumed a job that was over; the exit code where it cannot go on all the same."""
    missing = disk_reserve.wait(orders.job_dir, orders.backend, orders.checkpoints, error)
    stop = stops.path_of(orders.job_dir, orders.run_dir)
    refused = missing or (f"somebody stopped it: {stop}" if stop else None) or times.spent(orders)
    if refused:
        complain(refused)
        return code or 1
    history.add(orders.run_dir, contract.HISTORY_RESUMED, orders.job_id, former.attempt)
    set_aside(orders.job_dir)
    return None


def _close(orders: Order, former: Link, dropped: str | None) -> int | None:
    """See how the attempt before this one ended; the exit code where there shall be no other.

    `dropped` says that somebody has cancelled the Slurm job that was to make the next attempt.
    """
    present = history.has(orders.run_dir, contract.HISTORY_ENDED, orders.job_id, former.attempt)
    nodes = read_nodes(orders.job_dir, former.attempt)
    nnodes = max((node.nnodes for node in nodes), default=1)
    result = judged(orders.job_dir, nodes, nnodes, 1)
    try:
        result = put(orders.job_dir, result)
    except OSError as error:  # a full disk: how the attempt has ended is known all the same
        complain(f"{contract.EXIT} cannot be written: {error}")
    reason, slurm_s = slurm.end(former.now)
    if result.get(contract.OWN_SCANCEL):
        reason = None
    if reason is None and former.now == slurm.own_id() and chain.undecided(result, orders):
        reason = contract.REQUEUED  # the same Slurm job has started again, by an operator's will: it was not --requeue
    end = chain.describe(orders, former.attempt, result, nodes, reason, asked_slurm=True, slurm_s=slurm_s)
    lost = slurm.down([node.host for node in nodes]) if reason == contract.NODE_FAIL or vanished(nodes) else []
    with contextlib.suppress(OSError):
        bad_nodes.add(orders.job_root, lost, "Slurm lost it while a job ran there", orders.job_id)
    decision, missing = chain.judge(orders, end, nodes), None
    if decision and decision.goes_on:
        missing = disk_reserve.wait(orders.job_dir, orders.backend, orders.checkpoints, end.error)
    if missing:
        decision = Decision(False, f"{missing}; free space, then `resume` it")
    elif decision and decision.goes_on and dropped:
        end, decision = replace(end, state=contract.CANCELLED), Decision(False, dropped)
    if not present or reason is not None or missing or dropped:
        chain.record(orders, end, former.now, result, decision, complain)
    if (decision is not None and not decision.goes_on) or stops.path_of(orders.job_dir, orders.run_dir):
        return int(result["code"]) if end.state != contract.COMPLETED else 0
    set_aside(orders.job_dir)
    return None


def _successor(former: Link | None, me: str, number: int) -> Link:
    """This Slurm job's link, with those that wait already."""
    if former is None or me not in (former.now, former.next):
        return Link(me, None, number)
    if me == former.now:
        return replace(former, attempt=number)
    return Link(me, former.spare, number)


def _replacements(orders: Order) -> int:
    """How many attempts began within the Slurm job of the one before, on a spare."""
    return sum(e.get("job_id") == orders.job_id and "replaces" in e for e in history.read(orders.run_dir))


def _start(orders: Order, me: str, former: Link | None) -> list[str]:
    disk_reserve.keep_if_possible(orders.job_dir, complain)
    number = former.attempt + 1 if former else 0
    link = _successor(former, me, number)
    if orders.limits is not None and orders.limits.jobs != number + 1 - _replacements(orders):
        link = chain.go_on(orders, link, complain)
    now, asked, span = time.time(), time.monotonic(), slurm.span(me)
    chain.write(orders.job_dir, link)
    nodes = expand(os.environ.get("SLURM_JOB_NODELIST", ""))
    checkpoint = newest_checkpoint(orders.backend, orders.checkpoints)
    details = {"slurm_id": me, "nodes": nodes, "checkpoint": checkpoint, "gpus": times.gpus(orders), "time": now}
    if orders.spares:
        details.update(nodes=nodes[: -orders.spares], spares=nodes[-orders.spares :])
    details["allocated_s"] = span.used_s if span else None
    history.add(orders.run_dir, contract.HISTORY_BEGUN, orders.job_id, number, **details)
    if len(nodes) > 1:
        code_archive.write(orders.job_dir, number, complain)
    lines = [f"export {contract.ATTEMPT_VAR}={number}", *times.exports(orders, span, asked)]
    if orders.spares:
        lines += seats.exports(orders.job_dir)
    saves = [e.save_s for e in history.ends(history.read(orders.run_dir), orders.job_id) if e.save_s]
    if saves:
        lines.append(f"export {contract.SAVE_S_VAR}={max(saves):.1f}")
    return [*lines, *on_checkpoint.shell_line(orders.job_dir)]
