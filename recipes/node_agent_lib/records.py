"""What the agents write down: a record a rank (private to the node), a record a node (nodes/<k>.json), and where."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import contract

from .files import Json, read_json

SCHEMA = 1

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
    records: list[RankRecord] = field(default_factory=list)
    phase: str | None = None  # what the node is at; None while its ranks take steps
    phase_since: float | None = None
    active: float | None = None  # when its processes were last seen to work; not on node 0
    schema: int = SCHEMA

    def to_json(self) -> Json:
        """The record as it stands in the file."""
        return asdict(self)


def node_from_json(raw: Json) -> NodeRecord:
    """Contract: `raw` was written by to_json; keys of a later version are left out."""
    record = _build(NodeRecord, raw)
    record.stop = _build(Stop, raw["stop"]) if raw.get("stop") else None
    record.failure = _build(Failure, raw["failure"]) if raw.get("failure") else None
    record.records = [_build(RankRecord, item) for item in raw.get("records", [])]
    return record


def read_rank(path: str) -> RankRecord | None:
    """A rank's record, or None where it has not written one."""
    raw = read_json(path)
    return _build(RankRecord, raw) if raw else None


def _build(kind: type[_T], raw: dict[str, Any]) -> _T:
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in raw.items() if key in names})


def node_path(job_dir: str, node: int) -> str:
    """nodes/<k>.json"""
    return os.path.join(job_dir, contract.node_file(node))


def exit_path(job_dir: str) -> str:
    """exit.json"""
    return os.path.join(job_dir, contract.EXIT)


def read_nodes(job_dir: str, attempt: int | None = None) -> list[NodeRecord]:
    """The records of an attempt (None: the newest that has any), by node; each attempt writes over the one before."""
    directory = os.path.join(job_dir, contract.NODES)
    names = [name for name in _listdir(directory) if name.endswith(".json") and name[:-5].isdigit()]
    found = [raw for raw in (read_json(os.path.join(directory, name)) for name in names) if raw]
    nodes = [node_from_json(raw) for raw in found]
    wanted = max((node.attempt for node in nodes), default=0) if attempt is None else attempt
    return sorted((node for node in nodes if node.attempt == wanted), key=lambda node: node.node)


def _listdir(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
