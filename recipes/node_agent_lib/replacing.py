"""A lost node's rank goes to a spare: whether it may, and what is written down where it does.

Every replacement ends one attempt and begins the next, within the same Slurm job: in the history, in JOB_DIR/chain and
for whoever reads them it is as if a chain had gone on, without the queue. Whether there may be another attempt is
decided as for a chain (decision.py), but that a replacement is no further Slurm job.

Each step may be done twice, by a process that takes over from one that died in the middle of it; the last one, the
file of the new seats, only once.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import Callable, Dict

import contract

from . import bad_nodes, budget, chain, history, lost_logs, seats, slurm, stops, verdict
from .backends import newest_checkpoint
from .chain import Order
from .decision import Decision, Limits
from .files import Json, read_json, write_json
from .finish import announce, is_step
from .history import Ended
from .messages import explained
from .records import Failure, NodeRecord, exit_path, read_nodes
from .seats import Seats

_PATIENCE_S = 30.0
_ANY_NUMBER = 1 << 30

Why = Dict[str, str]  # of each lost node


class Replacement:
    """What has become of an attempt, and whether a further one follows it in this Slurm job.

    Contract: made when its agents have ended, or when `lost` nodes keep those of the others from going on.
    """

    def __init__(self, orders: Order, now: Seats, nnodes: int, lost: Why) -> None:
        self._orders, self._now = orders, now
        self._nodes = _closed(read_nodes(orders.job_dir, now.attempt), [*lost])
        self._result = _result(orders, self._nodes, nnodes)
        reason = contract.NODE_FAIL if lost else None
        self._end = chain.describe(orders, now.attempt, self._result, self._nodes, reason)
        self._lost = lost or _accused(self._result, self._end, now)

    @property
    def lost(self) -> list[str]:
        """The nodes to be replaced; none where the attempt ended for another reason than a node."""
        return [*self._lost]

    def refusal(self, spares: list[str]) -> str | None:
        """Why these spares may not take the lost nodes' ranks."""
        if not self._lost:
            return "no node has failed"
        if any(node.stop for node in self._nodes) or stops.path_of(self._orders.job_dir, self._orders.run_dir):
            return "the job was asked to stop"
        if len(spares) < len(self._lost):
            return "no spare is left" if not spares else f"{len(self._lost)} nodes are lost, and {len(spares)} left"
        # a Slurm job more is what `chain` counts
        own = self._orders.limits
        limits = replace(own, jobs=None) if own else Limits(None, _ANY_NUMBER)
        decision = chain.judge(replace(self._orders, limits=limits), self._end, self._nodes)
        return None if decision is None or decision.goes_on else decision.why

    def carry_out(self, spares: list[str], say: Callable[[str], None]) -> Seats | None:
        """Write it all down; the seats of the next attempt, None where another process has decided otherwise.

        Raises:
            OSError: it cannot be written.
        """
        following = self._now.without(self.lost, spares)
        taking = [host for host in following.nodes if host not in self._now.nodes]
        why = f"{' and '.join(taking)} took the place of {_and(self._lost)}"
        say(why)
        link = chain.read(self._orders.job_dir)
        self._note_end(Decision(True, why), link.now if link else "")
        self._note_bad()
        self._begin(following)
        if link is not None:
            chain.write(self._orders.job_dir, replace(link, attempt=following.attempt))
        return following if seats.put(self._orders.job_dir, following) else None

    def _note_end(self, decision: Decision, slurm_id: str) -> None:
        orders, attempt = self._orders, self._now.attempt
        values: Json = {key: value for key, value in vars(self._end).items() if key not in ("attempt", "replaced")}
        values.update(slurm_id=slurm_id, rank=self._result["rank"], node=self._result["node"], replaced=self.lost)
        values.update(history.told_restarts(orders.job_dir, attempt))
        values.update(goes_on=True, why=decision.why, cause=(self._result["known"] or {}).get("cause"))
        if not history.has(orders.run_dir, contract.HISTORY_ENDED, orders.job_id, attempt):
            history.add(orders.run_dir, contract.HISTORY_ENDED, orders.job_id, attempt, **values)
            if not os.path.exists(exit_path(orders.job_dir)):  # else the last agent has told of it
                announce(orders.job_dir, {**self._result, "state": self._end.state})
        record = {**self._result, "state": self._end.state, "goes_on": True, "why": decision.why}
        write_json(os.path.join(orders.job_dir, contract.former_exit(attempt)), record, _PATIENCE_S)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(exit_path(orders.job_dir))

    def _note_bad(self) -> None:
        """Hardware that an error accuses, and nodes that Slurm has lost too: an agent may die on a good node."""
        accused = _accused(self._result, self._end, self._now)
        down = slurm.down([host for host in self._lost if host not in accused], patience_s=5.0)
        for host, why in {**dict.fromkeys(down, "Slurm lost it while a job ran there"), **accused}.items():
            with contextlib.suppress(OSError):
                bad_nodes.add(self._orders.job_root, [host], why, self._orders.job_id)

    def _begin(self, following: Seats) -> None:
        orders = self._orders
        if history.has(orders.run_dir, contract.HISTORY_BEGUN, orders.job_id, following.attempt):
            return
        before = budget.begun_line(history.read(orders.run_dir), orders.job_id, self._now.attempt) or {}
        details: Json = {"slurm_id": before.get("slurm_id"), "nodes": [*following.nodes], "allocated_s": 0.0}
        details.update(spares=[*following.spares], replaces=self.lost, time=time.time())
        details["checkpoint"] = newest_checkpoint(orders.backend, orders.checkpoints)
        if isinstance(before.get("gpus"), int):  # Slurm takes a node that it has lost out of the job
            details["gpus"] = before["gpus"] * len(_all(following)) // max(1, len(_all(self._now)))
        history.add(orders.run_dir, contract.HISTORY_BEGUN, orders.job_id, following.attempt, **details)


def _all(of: Seats) -> list[str]:
    return [*of.nodes, *of.spares]


def _and(lost: Why) -> str:
    return " and ".join(f"{host} ({why})" for host, why in lost.items())


def _closed(nodes: list[NodeRecord], lost: list[str]) -> list[NodeRecord]:
    """The records; those of agents that only have not ended yet, because of a lost node, as those of its victims."""
    for node in nodes if lost else ():
        if node.state != contract.NODE_ENDED and node.host not in lost:
            node.state = contract.NODE_ENDED
            node.failure = node.failure or Failure(1, "ended because another node was lost", time.time(), victim=True)
    return nodes


def _result(orders: Order, nodes: list[NodeRecord], nnodes: int) -> Json:
    """What exit.json would say; it is the last agent's to write."""
    present = read_json(exit_path(orders.job_dir))
    if present is not None and present.get("complete") and present.get("attempt") == nodes[0].attempt:
        return present
    lost_logs.add(orders.job_dir, nodes, os.environ.get("SLURM_JOB_ID", ""), is_step(orders.job_dir))
    result = verdict.judge(nodes, nnodes, 1, stops.asked(orders.job_dir))
    return {**result, "error": explained(result["error"], os.environb)}


def _accused(result: Json, end: Ended, now: Seats) -> Why:
    """The node whose hardware the first error accuses."""
    host = result["node"]
    return {host: str(end.error)} if bad_nodes.blamed(end) and host in now.nodes else {}
