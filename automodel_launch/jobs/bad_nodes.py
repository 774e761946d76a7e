"""Nodes that have failed jobs of a cluster: JOB_ROOT/bad-nodes.jsonl, which the jobs themselves write."""

from __future__ import annotations

from dataclasses import dataclass

from automodel_launch import contract
from automodel_launch.jobs.jobdir import parse
from automodel_launch.remote.filesystem import FileSystem


@dataclass(frozen=True)
class BadNode:
    """A node that further attempts keep away from. `since` and `until` are unix seconds."""

    node: str
    since: float
    until: float
    why: str
    job_id: str


def known(job_root: str, place: FileSystem, now: float) -> list[BadNode]:
    """Nodes that are bad now, by name; the last word on a node counts."""
    found = place.read(f"{job_root}/{contract.BAD_NODES}", -(2**20))
    bad: dict[str, BadNode] = {}
    for line in found[0].splitlines() if found else ():
        entry = parse(line) or {}
        name, when = entry.get("node"), entry.get("time")
        if not isinstance(name, str) or not isinstance(when, (int, float)):
            continue
        bad.pop(name, None)
        if not entry.get("forgiven") and now - when < contract.BAD_NODE_S:
            why, job_id = str(entry.get("why", "")), str(entry.get("job_id", ""))
            bad[name] = BadNode(name, when, when + contract.BAD_NODE_S, why, job_id)
    return [bad[name] for name in sorted(bad)]
