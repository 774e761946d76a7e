"""Nodes that have failed jobs of this cluster: JOB_ROOT/bad-nodes.jsonl, a line a failure, forgotten after a day.

    {"time", "node", "why", "job_id"}, or {"time", "node", "forgiven": true}

Bad is a node that Slurm has taken out while a job ran there, and one whose hardware a rank's error accuses.
"""

from __future__ import annotations

import os
import time

import contract

from . import known
from .files import append_json, as_number, read_lines
from .history import Ended


def accused(error: str | None) -> bool:
    """Whether the error is one of the machine's, not of the program's."""
    signature = known.of_error(error)
    return signature is not None and signature.blames_node


def blamed(end: Ended) -> bool:
    """The same of an attempt's end: what is known of its error goes before its words."""
    signature = known.get(end.known)
    return signature.blames_node if signature else accused(end.error)


def path(job_root: str) -> str:
    """bad-nodes.jsonl"""
    return os.path.join(job_root, contract.BAD_NODES)


def add(job_root: str, nodes: list[str], why: str, job_id: str) -> None:
    """Note failures of nodes.

    Raises:
        OSError: the lines cannot be written.
    """
    if nodes:
        append_json(path(job_root), [{"time": time.time(), "node": n, "why": why, "job_id": job_id} for n in nodes])


def names(job_root: str) -> list[str]:
    """Nodes that are bad now."""
    found: dict[str, bool] = {}
    for entry in read_lines(path(job_root)):
        when = as_number(entry.get("time"))
        if when is not None and time.time() - when < contract.BAD_NODE_S:
            found[str(entry.get("node"))] = not entry.get("forgiven")
    return sorted(node for node, bad in found.items() if bad)
