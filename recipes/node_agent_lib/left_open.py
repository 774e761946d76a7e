"""Attempts that nobody has closed: their agent was killed, or lost with its node, and left no line of its end.

The next one at the run writes that line, from what they have left; and exit.json with it, so that the end is told in
the same way from then on.
"""

from __future__ import annotations

import os
from typing import Callable

import contract

from . import chain, history, slurm
from .error_line import error_line
from .finish import remove_secrets, settle, under_slurm
from .records import NodeRecord, read_nodes
from .spec import Spec


def close_former(job_dir: str, attempt: int, say: Callable[[str], None]) -> None:
    """Where no batch script has begun `attempt`: write down the end of the one before it, whose agent did not live to.

    Before that one's records are overwritten. Whatever these hold, the attempt that begins does not end for it.
    """
    try:
        orders, nodes = chain.order(job_dir), read_nodes(job_dir)
        if orders is None or not nodes or nodes[0].attempt >= attempt:
            return
        if not history.has(orders.run_dir, contract.HISTORY_ENDED, orders.job_id, nodes[0].attempt):
            _close(orders, nodes[0].attempt, nodes, say, tells=True)
    except (OSError, KeyError, TypeError, ValueError) as error:
        _could_not(error, "the attempt before", say)


def close_other_jobs(spec: Spec, say: Callable[[str], None]) -> None:
    """The same of the last attempts of other jobs of the run. Contract: this job holds the run's lock, so that none of
    them trains any more."""
    for job_id, attempt in _open(spec.run_dir, spec.job_id):
        try:
            orders = chain.order(os.path.join(os.path.dirname(os.path.abspath(spec.job_dir)), job_id))
            if orders is not None and orders.run_dir == spec.run_dir:
                nodes = read_nodes(orders.job_dir, attempt)
                _close(orders, attempt, nodes, say, tells=False)  # somebody has launched the run again, and knows
                if not under_slurm():
                    remove_secrets({node.secrets_file for node in nodes if node.secrets_file}, say)
        except (OSError, KeyError, TypeError, ValueError) as error:
            _could_not(error, job_id, say)


def _open(run_dir: str, own: str) -> list[tuple[str, int]]:
    """Attempts that have a beginning and no end, the last one of each job but `own`."""
    last = {
        entry["job_id"]: (entry["attempt"], entry.get("event"))
        for entry in history.read(run_dir)
        if isinstance(entry.get("job_id"), str) and os.path.basename(entry["job_id"]) == entry["job_id"] != own
    }
    return [(job_id, number) for job_id, (number, event) in last.items() if event == contract.HISTORY_BEGUN]


def _close(orders: chain.Order, attempt: int, nodes: list[NodeRecord], say: Callable[[str], None], tells: bool) -> None:
    """With the word of Slurm, where the attempt was one of its jobs: it knows why it has ended that."""
    link = chain.read(orders.job_dir) if under_slurm() else None
    if link is not None and slurm.runs(link.now):
        return
    result = settle(orders.job_dir, nodes, max((node.nnodes for node in nodes), default=1))
    reason, slurm_s = slurm.end(link.now) if link is not None else (None, None)
    end = chain.describe(orders, attempt, result, nodes, reason, link is not None, slurm_s)
    now = link.now if link is not None else ""
    when = max((node.time for node in nodes), default=None)
    chain.record(orders, end, now, result, None, say, when, tells)


def _could_not(error: Exception, whose: str, say: Callable[[str], None]) -> None:
    say(f"the end of {whose} cannot be written down: {error_line(error)}")
