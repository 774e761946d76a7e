"""The job's directory, wherever it lies: what the node agent and the recipe have written there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import start_logs, strays
from automodel_launch.jobs.records import Status, is_whole, status_of
from automodel_launch.remote import processes
from automodel_launch.remote.filesystem import LOCAL, FileSystem, whole, wholes

WAITS_FOR_AGENT = "starting the node agent (image, container)"
_NO_RECORD = "its node agent died without a record (killed?)"
_TIME_IS_OVER = (contract.STOP_BY_TIME_LIMIT, contract.STOP_BY_WARNING, contract.STOP_BY_BUDGET)
METRICS_TAIL = 4096  # bytes; holds the last steps of metrics.jsonl


@dataclass(frozen=True)
class JobDir:
    """Readers of `<job root>/<job id>/`; every file is written atomically, so a reader sees it whole or not at all."""

    path: Path | str
    place: FileSystem = LOCAL

    def file(self, name: str) -> str:
        """Path of a file, on the side where the job runs."""
        return f"{self.path}/{name}"

    def exit_record(self) -> dict[str, Any] | None:
        """exit.json: how the job ended, written by itself; None where it does not tell an end."""
        return told_end(self._json(contract.EXIT))

    def agent_order(self) -> dict[str, Any] | None:
        """agent.json: what the launcher has ordered."""
        return self._json(contract.AGENT)

    def plan(self) -> dict[str, Any]:
        """plan.json: what was planned; empty where it cannot be read."""
        return parse(whole(self.place, self.file(contract.PLAN)) or b"") or {}

    def node(self, rank: int) -> dict[str, Any] | None:
        """nodes/RANK.json: the heartbeat of a node's agent."""
        return self._json(contract.node_file(rank))

    def nodes(self) -> Iterator[dict[str, Any]]:
        """nodes/RANK.json of every node that has reported, by their numbers; of many, not all are in memory at once."""
        present = [name for name in self.place.names(self.file(contract.NODES)) if name.endswith(".json")]
        numbers = sorted(int(name[:-5]) for name in present if name[:-5].isdecimal())
        for text in wholes(self.place, [self.file(contract.node_file(number)) for number in numbers]):
            if node := parse(text or b""):
                yield node

    def phase(self) -> tuple[str, float | None] | None:
        """What the job is at while it takes no steps, and for how many seconds so; None once it does, or has ended."""
        return phase_of(self.node(0))

    def log(self, rank: int) -> str:
        """Log of a global rank."""
        return self.file(contract.rank_log(rank))

    def ranks(self) -> list[int]:
        """Global ranks that have a log, in order."""
        found = (contract.rank_of_log(name) for name in self.place.names(self.file(contract.LOGS)))
        return sorted(rank for rank in found if rank is not None)

    def agent_log(self, node: int = 0) -> str | None:
        """What the node's agent said: startup commands, torchrun."""
        found = self.place.read(self.file(contract.agent_log(node)))
        return None if found is None else found[0].decode(errors="replace")

    def start_logs(self) -> list[str]:
        """Logs that tell of a start in which no rank has logged: the agent's, then what was there before an agent."""
        present = self.place.names(self.file(contract.LOGS))
        agent = contract.agent_log(0)
        return [agent] * (agent.rpartition("/")[2] in present) + start_logs.names(present)

    def last_metrics(self, started: float | None = None) -> dict[str, Any] | None:
        """The last training step of metrics.jsonl; `started`: when the last attempt did (unix seconds)."""
        found = self.place.read(self.file(contract.METRICS), -METRICS_TAIL)
        records = [record for line in (found[0].splitlines() if found else ()) if (record := parse(line))]
        steps = [record for record in records if "loss" in record and is_whole(record.get("step"))]
        return next(reversed(strays.without(steps, started)), None)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Every object of metrics.jsonl, oldest first; an incomplete last line is left out."""
        path, offset, rest = self.file(contract.METRICS), 0, b""
        while (found := self.place.read(path, offset)) and found[0]:
            offset += len(found[0])
            *lines, rest = (rest + found[0]).split(b"\n")
            yield from (record for line in lines if (record := parse(line)))
            if offset >= found[1]:
                return

    def agent_pid(self) -> int | None:
        """The agent's process, if it runs on this machine now."""
        node = self.node(0) or {}
        pid, start = node.get("agent_pid"), node.get("agent_start")
        # a laptop's host name may be another one in another network, and `start` is its time of day there (a string)
        if is_elsewhere(node) and not isinstance(start, str):
            return None
        return pid if isinstance(pid, int) and start is not None and processes.start_time(pid) == start else None

    def status(self) -> Status:
        """State of a job whose node is this machine."""
        alive = self.agent_pid() is not None  # asked first: the agent writes exit.json before it goes
        ended = self.exit_record()
        if ended:
            return from_record(ended)
        node = self.node(0)
        if node is None or "host" not in node:
            there = bool(self.place.names(str(self.path)))
            said = "its agent has not reported yet" if there else "its directory is gone"
            return Status("UNKNOWN", error=said, forgotten=not there)
        step = node.get("step")
        if not alive and is_elsewhere(node):
            return Status("UNKNOWN", error=f"it runs on {node.get('host')}", step=step)
        if not alive:
            own = end_by_node(node)
            return from_record(own) if own else Status("FAILED", code=1, error=_NO_RECORD, step=step)
        return Status("RUNNING", step=step, started=node.get("started"))

    def _json(self, name: str) -> dict[str, Any] | None:
        found = self.place.read(self.file(name))
        return None if found is None else parse(found[0])


def is_elsewhere(known: dict[str, Any]) -> bool:
    """Whether a process with this `host` and `machine` is none of this machine's, which may have another name now."""
    machine = known.get("machine")
    return known.get("host") != socket.gethostname() and not (machine and machine == contract.this_machine())


def phase_of(node: dict[str, Any] | None) -> tuple[str, float | None] | None:
    """What `phase` tells, of node 0's record."""
    if node is None:
        return (WAITS_FOR_AGENT, None)
    phase, since, now = node.get("phase"), node.get("phase_since"), node.get("time")
    if not isinstance(phase, str) or node.get("state") == contract.NODE_ENDED:
        return None
    if not isinstance(since, (int, float)) or not isinstance(now, (int, float)):
        return phase, None
    return phase, max(0.0, now - since)  # one clock, the node's


def told_end(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The content of an exit.json, unless that is another file's, or damaged."""
    state = record.get("state") if record else None
    return record if isinstance(state, str) and state in contract.ENDED else None


def from_record(ended: dict[str, Any]) -> Status:
    """The status that an exit.json tells."""
    told = {key: ended.get(key) for key in ("state", *contract.STATUS_KEYS)} | explained(ended)
    return status_of(told) or Status("UNKNOWN", error=f"its {contract.EXIT} does not say its state")


def end_by_node(node: dict[str, Any] | None) -> dict[str, Any] | None:
    """What exit.json would say of a job of one node whose agent is gone and did not live, or had no room, to write it.

    Its node's record is final once the agent has ended (recipes/node_agent_lib/ending.py), and tells of a stop as soon
    as somebody has asked for it. None where it tells no end.
    """
    node = node or {}
    code, stop = node.get("code"), _object(node.get("stop"))
    told = {"complete": True, "step": node.get("step"), "attempt": node.get("attempt")}
    told |= {"started": node.get("started"), "ended": node.get("time")}
    number = stop.get("number")
    stopped = contract.SIGNALLED + number if is_whole(number) else None
    if node.get("nnodes") != 1:
        return None
    if node.get("state") != contract.NODE_ENDED:
        return None if stopped is None else {**told, **_stopped(stop, stopped)}
    if code == 0:
        return {**told, "code": code, "state": contract.COMPLETED}
    if not is_whole(code):
        return None
    if code == stopped:
        return {**told, **_stopped(stop, code)}
    return {**told, "state": contract.FAILED, "code": code, "node": node.get("host"), **_first_failure(node, code)}


def _stopped(stop: dict[str, Any], code: int) -> dict[str, Any]:
    reason = str(stop.get("reason") or "")
    state = contract.TIMEOUT if reason in _TIME_IS_OVER else contract.CANCELLED
    error = f"{contract.STOPPED_BY}{reason}" if reason.startswith("/") else None
    return {"state": state, "code": code, "error": error, "signal": stop.get("signal")}


def _first_failure(node: dict[str, Any], code: int) -> dict[str, Any]:
    failure = _object(node.get("failure"))
    records = node.get("records")
    ranks = [_object(one) for one in records] if isinstance(records, list) else []
    first = next((one for one in ranks if one.get("code") == code), None)
    if failure.get("code") == code or first is None:
        return {"error": failure.get("error") or f"exit code {code}", "log": contract.agent_log(0)}
    error = first.get("evidence") or first.get("error") or f"exit code {code}"
    log = contract.rank_log(first["rank"]) if is_whole(first.get("rank")) else None
    return {"error": error, "rank": first.get("rank"), "signal": first.get("signal"), "log": log}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def explained(ended: dict[str, Any]) -> dict[str, Any]:
    """Cause and advice, of a failure that an exit.json tells and whose error is a known one."""
    known = ended.get("known")
    if ended.get("state") != contract.FAILED or not isinstance(known, dict):
        return {}
    told = {"cause": known.get("cause"), "advice": known.get("todo")}
    return {key: text for key, text in told.items() if isinstance(text, str)}


def parse(text: bytes | str) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
