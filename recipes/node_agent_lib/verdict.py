"""What happened to the job, from the records of all its nodes.

    COMPLETED   every rank of every node ended with 0; code 0
    TIMEOUT     as CANCELLED, where the agent asked because the job's time, or max_gpu_hours, was nearly over
    CANCELLED   somebody asked it to stop before anything had failed; code 128 + signal, also when the ranks saved and
                ended with 0
    FAILED      the first error over all ranks; code is that rank's (128 + signal for one that was killed)

The first error is what began it, not what was noted first: root_cause.py. What is known of it (known/) goes into
exit.json with it.
"""

from __future__ import annotations

import contract

from . import known
from .files import Json
from .records import SCHEMA, Failure, NodeRecord, RankRecord, Stop
from .root_cause import Cause
from .root_cause import first as _first

_KNOWN_KEYS = ("id", "role", "cause", "todo", "restart", "blames_node")  # of `known` in exit.json
_SIGNAL_SKEW_S = 2.0  # a signal sent to all processes reaches a rank before the agent has noticed
_HEARD_S = 90.0  # by every node: a network file system may show a stop file a minute late
_TIME_IS_OVER = (contract.STOP_BY_TIME_LIMIT, contract.STOP_BY_WARNING, contract.STOP_BY_BUDGET)
_ASKED = {"SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"}


def judge(
    nodes: list[NodeRecord],
    nnodes: int | None,
    fallback_code: int | None = None,
    asked: Stop | None = None,
    finished: bool = False,
) -> Json:
    """exit.json for these records. `nnodes` None: as if there were no other nodes.

    `fallback_code` is the starter's exit code, used where no record tells one; 0 says that every agent has ended well,
    also one that had no room for its last record. `asked` is a stop that may have reached no
    agent; `finished`: the run has reached its end, which a stop that came meanwhile does not undo.
    """
    stop = _first_stop(nodes) or asked
    cause = _first(_causes(nodes, nnodes, stop, fallback_code))
    if stop is not None and not _completed_before(nodes, nnodes) and _is_consequence(cause, stop, nodes):
        if finished and complete(nodes, nnodes) and _all_ended_well(nodes):
            return _exit(nodes, nnodes, contract.COMPLETED, 0, None, None)
        state = contract.TIMEOUT if stop.reason in _TIME_IS_OVER else contract.CANCELLED
        record = _exit(nodes, nnodes, state, contract.SIGNALLED + stop.number, stop.signal, _first_exception(nodes))
        return {**record, "error": record["error"] or _words(stop)}
    if cause is not None:
        return _exit(nodes, nnodes, contract.FAILED, cause.code or 1, cause.signal, cause)
    return _exit(nodes, nnodes, contract.COMPLETED, 0, None, None)


def _words(stop: Stop) -> str | None:
    if stop.reason == contract.STOP_BY_BUDGET:
        return contract.OUT_OF_BUDGET
    if stop.reason == contract.STOP_BY_WARNING:
        return f"ended early by {stop.reason}"
    return contract.STOPPED_BY + stop.reason if stop.reason.startswith("/") else None


def complete(nodes: list[NodeRecord], nnodes: int | None) -> bool:
    """Whether every node's agent has written its end."""
    return nnodes in (None, len(nodes)) and all(node.state == contract.NODE_ENDED for node in nodes)


def vanished(nodes: list[NodeRecord]) -> str | None:
    """The error of an agent that is gone and has not written its end, None where there is none."""
    gone = (_of_vanished(node, None, None).error for node in nodes if node.state != contract.NODE_ENDED)
    return next(gone, None)


def failed_first(nodes: list[NodeRecord]) -> bool:
    """Whether some rank or node failed on its own, not because it was told to end."""
    return any(not cause.victim for cause in _causes(nodes, None, None, None) if not cause.vanished)


def _causes(nodes: list[NodeRecord], nnodes: int | None, stop: Stop | None, fallback_code: int | None) -> list[Cause]:
    causes = [_of_rank(node, record) for node in nodes for record in node.records if record.code]
    causes += [_of_node(node, node.failure) for node in nodes if node.failure is not None]
    gone = [node for node in nodes if node.state != contract.NODE_ENDED] if fallback_code != 0 else []
    causes += [_of_vanished(node, stop, fallback_code) for node in gone]
    seen = {node.node for node in nodes}
    causes += [_of_absent(number, stop, fallback_code) for number in range(nnodes or 0) if number not in seen]
    return causes


def _of_rank(node: NodeRecord, record: RankRecord) -> Cause:
    time = record.failed or record.ended or 0.0
    return Cause(
        time=time,
        host=node.host,
        code=record.code or 1,
        error=record.evidence or record.error or f"exit code {record.code}",
        victim=record.told_to_end is not None and time > record.told_to_end,
        rank=record.rank,
        signal=record.signal,
        traceback=record.traceback,
        log=contract.rank_log(record.rank),
        known=known.get(record.known) or known.of_error(record.error),
    )


def _of_node(node: NodeRecord, failure: Failure) -> Cause:
    return Cause(
        time=failure.time,
        host=node.host,
        code=failure.code,
        error=failure.error,
        victim=failure.victim,
        traceback=failure.traceback,
        log=contract.agent_log(node.node),
        known=known.of_error(failure.error),
    )


def _of_vanished(node: NodeRecord, stop: Stop | None, code: int | None) -> Cause:
    error = f"node {node.node} ({node.host}) ended without a record: killed, or the node failed"
    return Cause(
        node.time,
        node.host,
        code or 1,
        error,
        victim=stop is not None,
        log=contract.agent_log(node.node),
        vanished=True,
        known=known.of_error(error),
    )


def _of_absent(number: int, stop: Stop | None, code: int | None) -> Cause:
    error = f"node {number} {contract.NO_AGENT}"
    lost = known.of_error(error)
    return Cause(0.0, "", code or 1, error, victim=stop is not None, vanished=True, known=lost)


def _first_stop(nodes: list[NodeRecord]) -> Stop | None:
    return min((node.stop for node in nodes if node.stop is not None), key=lambda stop: stop.time, default=None)


def _heard(nodes: list[NodeRecord], cause: Cause | None, stop: Stop) -> Stop:
    """The stop as the cause's own host has noted it, where the first one was noted by another clock."""
    own = _first_stop([node for node in nodes if cause is not None and node.host == cause.host])
    return stop if own is None or abs(own.time - stop.time) < _HEARD_S else own


def _is_consequence(cause: Cause | None, stop: Stop, nodes: list[NodeRecord]) -> bool:
    if cause is None or cause.victim:
        return True
    allowed = _SIGNAL_SKEW_S if cause.signal in _ASKED or cause.communication else 0.0
    noticed = next((node.noticed for node in nodes if node.noticed and node.host == cause.host), None)
    if noticed is not None and cause.time <= noticed.time:
        if noticed.stopped:  # it came first, unless it fell between the failure and its being noticed
            return not 0.0 < stop.time - allowed - cause.time <= noticed.time - cause.time
        if not allowed:
            return False
    return cause.time >= _heard(nodes, cause, stop).time - allowed


def _completed_before(nodes: list[NodeRecord], nnodes: int | None) -> bool:
    """Every node by its own clock; a stop that no agent has heard of has ended nothing."""
    return (
        complete(nodes, nnodes)
        and _all_ended_well(nodes)
        and all(node.records for node in nodes)
        and all(_done_by(record, node.stop.time) for node in nodes if node.stop for record in node.records)
    )


def _all_ended_well(nodes: list[NodeRecord]) -> bool:
    return all(node.failure is None and all(record.code == 0 for record in node.records) for node in nodes)


def _done_by(record: RankRecord, time: float) -> bool:
    return record.code == 0 and record.ended is not None and record.ended <= time


def _first_exception(nodes: list[NodeRecord]) -> Cause | None:
    """What went wrong while the ranks were stopping, such as a full disk while they saved."""
    causes = [_of_rank(node, record) for node in nodes for record in node.records if record.code and record.traceback]
    return min(causes, key=lambda cause: cause.time, default=None)


def _exit(
    nodes: list[NodeRecord], nnodes: int | None, state: str, code: int, signal: str | None, cause: Cause | None
) -> Json:
    return {
        "schema": SCHEMA,
        "job_id": nodes[0].job_id if nodes else None,
        "attempt": nodes[0].attempt if nodes else 0,
        "complete": complete(nodes, nnodes),
        "state": state,
        "code": code,
        "signal": signal,
        "rank": cause.rank if cause else None,
        "node": (cause.host or None) if cause else None,
        "error": cause.error if cause else None,
        "known": described(cause.known) if cause and cause.known else None,
        "traceback": cause.traceback if cause else None,
        "log": cause.log if cause else None,
        "started": min((node.started for node in nodes), default=None),
        "ended": max((node.time for node in nodes), default=None),
        "step": next((node.step for node in nodes if node.node == 0), None),
        "nodes": [{"node": node.node, "host": node.host, "code": node.code} for node in nodes],
    }


def described(signature: known.Signature) -> Json:
    """What exit.json says of a known error."""
    return {key: getattr(signature, key) for key in _KNOWN_KEYS}
