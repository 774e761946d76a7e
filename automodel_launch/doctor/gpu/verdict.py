"""`doctor --gpu`: what the nodes have written (recipes/gpu_check.py), judged. Pure: facts in, a verdict out.

A fault is a node's own, and then the node is bad and to be excluded; or it is of all nodes alike (a path that is
nowhere, a torch without CUDA, a slow fabric), and then excluding one would fix nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from automodel_launch.doctor.gpu import node as doctor_node
from automodel_launch.doctor.gpu import pairs as doctor_pairs
from automodel_launch.doctor.gpu.node import Fault, Limits, Typical
from automodel_launch.doctor.gpu.pairs import Pair

DONE = "done"


@dataclass(frozen=True)
class Node:
    """A node of the job. `facts`: what it has written, None for nothing; `silence`: why, where that is known.

    `victim`: it did not come to an end because something else ended the job.
    """

    number: int
    host: str
    facts: Mapping[str, Any] | None = None
    silence: str | None = None
    victim: bool = False

    @property
    def finished(self) -> bool:
        """It has been through all phases."""
        return self.facts is not None and self.facts.get("phase") == DONE


@dataclass(frozen=True)
class Verdict:
    """`faults` of node None are of all nodes, or of none in particular; `rounds`: played by most, and of how many."""

    nodes: tuple[Node, ...]
    faults: tuple[Fault, ...]
    pairs: tuple[Pair, ...]
    typical: Typical
    offsets: dict[int, float] = field(default_factory=dict)  # seconds of each clock against the median
    over: str | None = None

    @property
    def well(self) -> bool:
        """Nothing has failed; warnings do not count."""
        return not any(fault.level == "FAIL" for fault in self.faults)

    @property
    def bad(self) -> list[str]:
        """Host names of the nodes to exclude, as far as the names are known (else a node is called `node 3`)."""
        numbers = {fault.node for fault in self.faults if fault.level == "FAIL"}
        return [node.host for node in self.nodes if node.number in numbers and " " not in node.host]

    def state(self, node: Node) -> Literal["ok", "warn", "FAIL", "no answer"]:
        """Of one node."""
        if not node.finished:
            return "no answer"
        levels = {fault.level for fault in self.faults if fault.node == node.number}
        return "FAIL" if "FAIL" in levels else "warn" if "warn" in levels else "ok"

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        hosts = {node.number: node.host for node in self.nodes}
        return {
            "well": self.well,
            "over": self.over,
            "nodes": [
                {
                    "host": node.host,
                    "state": self.state(node),
                    "clock_s": self.offsets.get(node.number),
                    "facts": node.facts,
                }
                for node in self.nodes
            ],
            "pairs": [{**asdict(pair), "nodes": [hosts[end] for end in pair.nodes]} for pair in self.pairs],
            "faults": [
                {"node": None if fault.node is None else hosts[fault.node], **_told(fault)} for fault in self.faults
            ],
        }


def _told(fault: Fault) -> dict[str, Any]:
    return {"level": fault.level, "what": fault.what, "detail": fault.detail}


def judge(nodes: list[Node], limits: Limits, ended: str | None = None) -> Verdict:
    """Everything that is wrong with these nodes, and whose fault it is.

    `ended`: why the check was over before its end, where that is no node's fault.
    """
    if ended:
        nodes = [node if node.finished else replace(node, victim=True) for node in nodes]
    heard = {node.number: node.facts for node in nodes if node.facts is not None}
    typical = doctor_node.typical(heard.values())
    own = {number: list(doctor_node.faults(number, facts, limits, typical)) for number, facts in heard.items()}
    faults = [*_silences(nodes), *_shared(own), *_meeting(nodes)]
    offsets = _offsets(heard)
    faults += _clocks(nodes, offsets, limits)
    pairs = [pair for pair in doctor_pairs.read(heard) if all(end in heard for end in pair.nodes)]
    faults += _pairs(nodes, pairs, limits)
    if ended:
        faults.append(Fault(None, "FAIL", "check", f"it did not come to its end: {ended}"))
    backends = {facts["backend"] for facts in heard.values() if facts.get("backend")}
    order = {"FAIL": 0, "warn": 1}
    faults.sort(key=lambda fault: (fault.node is not None, order[fault.level], fault.node or 0))
    return Verdict(tuple(nodes), tuple(faults), tuple(pairs), typical, offsets, "+".join(sorted(backends)) or None)


def _silences(nodes: list[Node]) -> Iterator[Fault]:
    for node in nodes:
        if node.finished:
            continue
        where = "it wrote nothing" if node.facts is None else f"nothing since its phase `{node.facts.get('phase')}`"
        detail = f"{where}: {node.silence}" if node.silence else where
        yield Fault(node.number, "warn" if node.victim else "FAIL", "no answer", detail)


def _shared(own: Mapping[int, list[Fault]]) -> Iterator[Fault]:
    """Each node's faults; those that may be of all alike, and are, become one of no single node."""
    found: dict[tuple[str, bool], list[Fault]] = {}
    for fault in (fault for faults in own.values() for fault in faults):
        found.setdefault((fault.what, fault.shared), []).append(fault)
    for (_, shared), alike in found.items():
        if shared and len({fault.node for fault in alike}) == len(own):
            where = "on every node: " if len(own) > 1 else ""
            yield replace(alike[0], node=None, detail=where + alike[0].detail)
        else:
            yield from alike


def _meeting(nodes: list[Node]) -> Iterator[Fault]:
    """Nodes that could not come to the others: their own fault, or node 0's, which has the store."""
    lost = {
        node.number: node.facts["meeting_error"] for node in nodes if node.facts and node.facts.get("meeting_error")
    }
    host, others = nodes[0], [node for node in nodes[1:] if node.facts is not None]
    away = {number: error for number, error in lost.items() if number != host.number}
    if host.number in lost:
        yield Fault(host.number, "FAIL", "network", f"the others could not meet here: {lost[host.number]}")
    if not away:
        return
    if host.number in lost or not host.finished:
        return  # it has its own fault, of which this is the consequence
    if 2 * len(away) > len(others) > 1:
        yield Fault(host.number, "FAIL", "network", f"{len(away)} of {len(others)} nodes could not reach it")
        return
    for number, error in away.items():
        node = number if len(others) > 1 else None
        yield Fault(node, "FAIL", "network", f"{nodes[number].host} could not reach {host.host}: {error}")


def _offsets(heard: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    """Seconds of each clock against the median, at the moment at which it is nearest: a delay can only add to one."""
    clocks = {number: facts["clock"] for number, facts in heard.items() if facts.get("clock")}
    ticks = min(map(len, clocks.values()), default=0)
    middle = [statistics.median(clock[tick] for clock in clocks.values()) for tick in range(ticks)]
    return {
        number: min((clock[tick] - middle[tick] for tick in range(ticks)), key=abs) for number, clock in clocks.items()
    }


def _clocks(nodes: list[Node], offsets: Mapping[int, float], limits: Limits) -> Iterator[Fault]:
    if len(offsets) == 2:  # which of the two is wrong cannot be told
        (one, first), (other, second) = offsets.items()
        if abs(first - second) > limits.max_skew_s:
            detail = f"{nodes[one].host} and {nodes[other].host} are {abs(first - second):.1f} s apart"
            yield Fault(None, "FAIL", "clocks", detail)
        return
    for number, offset in offsets.items():
        if abs(offset) > limits.max_skew_s:
            yield Fault(number, "FAIL", "clock", f"{offset:+.1f} s against the median of all nodes")


def _pairs(nodes: list[Node], pairs: list[Pair], limits: Limits) -> Iterator[Fault]:
    answered = [pair for pair in pairs if all(nodes[end].finished for end in pair.nodes)]
    usual = doctor_pairs.median(answered)
    why = {pair.nodes: pair.slow(limits.min_pair_gb_s, usual, limits.min_share) for pair in answered}
    found = doctor_pairs.blame({ends: reason is not None for ends, reason in why.items()})

    def named(ends: tuple[int, int]) -> str:
        return f"{nodes[ends[0]].host} with {nodes[ends[1]].host}: {why[ends]}"

    if found.all:
        detail = (
            f"{len(found.links)} of {len(why)} pairs are slow or broken: the fabric or NCCL's settings, not one node"
        )
        yield Fault(None, "FAIL", "network", f"{detail}; {named(found.links[0])}")
        return
    for number, (bad, all_of_it) in found.nodes.items():
        example = next(ends for ends, reason in why.items() if reason and number in ends)
        yield Fault(number, "FAIL", "network", f"{bad} of its {all_of_it} pairs are slow or broken; {named(example)}")
    for ends in found.links:
        alone = len(nodes) == 2
        detail = f"{named(ends)}; which of the two, a third node would tell" if alone else named(ends)
        yield Fault(None, "FAIL", "pair", detail)
