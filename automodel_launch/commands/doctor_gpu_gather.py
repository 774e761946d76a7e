"""What the nodes of a `doctor --gpu` have written, and what their agents say of those that have not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automodel_launch.jobs.jobdir import parse

if TYPE_CHECKING:
    from automodel_launch.doctor.gpu.verdict import Node
    from automodel_launch.remote.filesystem import FileSystem

FOLDER = "gpu-check"  # recipes/gpu_check_lib/record.py


def gather(place: FileSystem, job_dir: str, count: int, late: bool = False) -> list[Node]:
    """What every node has written itself, and what its agent says of one that has not come to its end.

    `late`: the check was stopped because of its limit. Nodes that are well have ended by then. Where it was stopped for
    another reason, mostly a node that died, those whose agents were told to stop are not to blame.
    """
    from automodel_launch.doctor.gpu.verdict import DONE, Node
    from automodel_launch.remote.filesystem import wholes

    files = [f"{job_dir}/{FOLDER}/node-{number}.json" for number in range(count)]
    files += [f"{job_dir}/nodes/{number}.json" for number in range(count)]
    read = [parse(found or b"") for found in wholes(place, files)]
    facts, agents = read[:count], read[count:]
    names = next((known["hosts"] for known in facts if known and known.get("hosts")), None)
    own = {number: error for number, agent in enumerate(agents) if (error := _own_failure(agent))}
    nodes = []
    for number in range(count):
        host = (facts[number] or agents[number] or {}).get("host") or (names[number] if names else f"node {number}")
        if (facts[number] or {}).get("phase") == DONE:
            nodes.append(Node(number, host, facts[number]))
            continue
        silence = own.get(number) or _silence(agents[number], late)
        stopped = bool((agents[number] or {}).get("stop")) and not late
        victim = number not in own and (bool(own) or stopped)
        nodes.append(Node(number, host, facts[number], silence, victim))
    return nodes


def _silence(agent: Mapping[str, Any] | None, late: bool) -> str:
    if agent is None:
        return "its agent never started"
    if late:
        return "it did not end within the check's limits"
    return "it was told to stop" if agent.get("stop") else "the node died or was cut off: its agent has left no end"


def _own_failure(agent: Mapping[str, Any] | None) -> str | None:
    """Why this node has failed by itself, and not because of another."""
    failure = (agent or {}).get("failure") or {}
    if failure and not failure.get("victim"):
        return str(failure.get("error"))
    for rank in (agent or {}).get("records") or []:
        if rank.get("code") and rank.get("told_to_end") is None and not (agent or {}).get("stop"):
            return str(rank.get("error") or f"exit code {rank['code']}")
    return None
