"""What the agents write down: a record a rank (private to the node), a record a node (nodes/<k>.json), and where."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Iterator, TypeVar

import contract

from . import procs
from .files import Json, read_json

SCHEMA = contract.SCHEMA

_T = TypeVar("_T")


@dataclass
class RankRecord:
    """One training process. `worker` is its watcher, the process that torchrun knows."""

    rank: int
    local_rank: int
    host: str
    pid: int
    pid_start: int | None
    worker: int
    worker_start: int | None
    started: float
    ended: float | None = None
    code: int | None = None
    signal: str | None = None
    error: str | None = None
    traceback: str | None = None
    failed: float | None = None  # when it failed: an exception comes before the process's end
    told_to_end: float | None = None  # when torchrun or the agent ended it because of something else
    known: str | None = None  # the id of a known error (known/), told by `evidence` or, where that is null, by `error`
    evidence: str | None = None  # a line of its log, or of the kernel's, that tells more than `error`


@dataclass
class Stop:
    """Somebody asked the job to stop."""

    signal: str
    number: int
    time: float
    reason: str


@dataclass
class Failure:
    """A failure of the node itself, not of a rank."""

    code: int
    error: str
    time: float
    traceback: str | None = None
    victim: bool = False  # this node was ended because of something else


@dataclass
class Noticed:
    """This node has seen that something failed here, at a time of its own clock, before it had heard of a stop."""

    time: float
    stopped: bool  # node 0's record, or a stop file, told of one by then


@dataclass
class NodeRecord:
    """nodes/<k>.json: rewritten as a heartbeat, final when state is "ended"."""

    job_id: str
    node: int
    nnodes: int
    attempt: int
    host: str
    agent_pid: int
    agent_start: int | str | None
    started: float
    state: str = contract.NODE_STARTING
    time: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)
    log_starts: dict[str, int] = field(default_factory=dict)  # by rank: where this attempt's part of its log begins
    step: int | None = None
    first_step: int | None = None  # of this attempt
    save_s: float | None = None  # the longest save of a checkpoint that was seen
    stop: Stop | None = None
    secrets_file: str | None = None
    code: int | None = None
    failure: Failure | None = None
    noticed: Noticed | None = None
    records: list[RankRecord] = field(default_factory=list)
    phase: str | None = None  # what the node is at; None while its ranks take steps
    phase_since: float | None = None
    active: float | None = None  # when its processes were last seen to work; not on node 0
    oom_kills: int | None = None  # of the agent's cgroup when it began: oom_kills.py
    touched: bool = False  # the file's own time is its last sign of life, where that is later than `time`
    finished: str | None = None  # finished_mark when the attempt began, of node 0
    machine: str | None = None  # host names change, and two hosts may have one
    schema: int = SCHEMA

    def to_json(self) -> Json:
        """The record as it stands in the file."""
        return asdict(self)


def in_short(ended: NodeRecord) -> NodeRecord:
    """The same end without its ranks' records, which are long: what failed first stands for them."""
    stop, failure = ended.stop if ended.code else None, ended.failure
    if failure is None and ended.code and not (stop and ended.code == contract.SIGNALLED + stop.number):
        first = next((rank for rank in ended.records if rank.code == ended.code), None)
        error = (first.evidence or first.error) if first else None
        when = (first.failed or first.ended) if first else None
        failure = Failure(ended.code, error or f"exit code {ended.code}", when or ended.time)
    return replace(ended, records=[], log_starts={}, stop=stop, failure=failure)


def node_from_json(raw: Json) -> NodeRecord:
    """Contract: `raw` was written by to_json; keys of a later version are left out."""
    record = _build(NodeRecord, raw)
    record.stop = _build(Stop, raw["stop"]) if raw.get("stop") else None
    record.failure = _build(Failure, raw["failure"]) if raw.get("failure") else None
    record.noticed = _build(Noticed, raw["noticed"]) if raw.get("noticed") else None
    record.records = [_build(RankRecord, item) for item in raw.get("records", [])]
    return record


def read_rank(path: str) -> RankRecord | None:
    """A rank's record, or None where it has not written one."""
    raw = read_json(path)
    return _build(RankRecord, raw) if raw else None


def _build(kind: type[_T], raw: dict[str, Any]) -> _T:
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in raw.items() if key in known})


def node_path(job_dir: str, node: int) -> str:
    """nodes/<k>.json"""
    return os.path.join(job_dir, contract.node_file(node))


def exit_path(job_dir: str) -> str:
    """exit.json"""
    return os.path.join(job_dir, contract.EXIT)


def read_nodes(job_dir: str, attempt: int | None = None) -> list[NodeRecord]:
    """The records of an attempt (None: the newest that has any), by node; each attempt writes over the one before."""
    return NodeReader(job_dir, attempt).look()


def finished_before(nodes: list[NodeRecord]) -> str | None:
    """The run's finished_mark when these nodes' attempt began, None where that is not told."""
    return next((node.finished for node in nodes if node.node == 0), None)


def agent_at_it(job_dir: str, node: int, attempt: int, host: str) -> int | None:
    """The process id of another agent on this host that makes this node's part of this attempt."""
    found = read_node(job_dir, node)
    if found is None or found.state == contract.NODE_ENDED or (found.attempt, found.host) != (attempt, host):
        return None
    return found.agent_pid if procs.alive(found.agent_pid, found.agent_start) else None


class NodeReader:
    """Reads the records of an attempt again and again, but never again that of a node that has ended."""

    def __init__(self, job_dir: str, attempt: int | None = None) -> None:
        self._directory = os.path.join(job_dir, contract.NODES)
        self._attempt = attempt
        self._ended: dict[str, NodeRecord] = {}

    def look(self) -> list[NodeRecord]:
        """As they are now, by node."""
        nodes = list(self.each())
        wanted = max((node.attempt for node in nodes), default=0) if self._attempt is None else self._attempt
        return sorted((node for node in nodes if node.attempt == wanted), key=lambda node: node.node)

    def each(self) -> Iterator[NodeRecord]:
        """One after the other, of whatever attempt; no more are read than are taken."""
        for name in _listdir(self._directory):
            if not name.endswith(".json") or not name[:-5].isdigit():
                continue
            node = self._ended.get(name) or _read_node(os.path.join(self._directory, name))
            if node is None:
                continue
            if node.state == contract.NODE_ENDED and self._attempt in (None, node.attempt):
                self._ended[name] = node
            yield node


def read_node(job_dir: str, node: int) -> NodeRecord | None:
    """The record of one node, whatever attempt it is of; None where there is none that is whole."""
    return _read_node(node_path(job_dir, node))


def _read_node(path: str) -> NodeRecord | None:
    try:
        node = node_from_json(read_json(path) or {})
    except (AttributeError, KeyError, TypeError):  # none, or damaged
        return None
    if node.touched and node.state != contract.NODE_ENDED:
        with contextlib.suppress(OSError):
            node.time = max(node.time, os.stat(path).st_mtime)
    return node


def _listdir(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
