"""What one agent writes into the job's directory while it runs: its node's record, events, metrics. It never raises."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import contract

from . import backends, chain, files, nodes, oom_kills, procs, records
from .files import Json
from .log import AgentLog
from .metrics import Follower
from .records import NodeRecord
from .spec import Spec
from .stall import Progress


class Journal:
    """The node's record and who writes it down. Events and metrics are node 0's."""

    def __init__(self, spec: Spec, node: int, log: AgentLog) -> None:
        self.record = _first_record(spec, node)
        self.log = log
        self.job_dir = spec.job_dir
        self._backend = backends.get(spec.backend)
        self._follower: Follower | None = None
        self._written: Json | None = None

    def save(self, patience_s: float = 0.0, durably: bool = True) -> None:
        """Rewrite nodes/<k>.json."""
        if chain.superseded(self.job_dir, self.record.attempt):  # the file is another attempt's now
            return
        self.record.time = time.time()
        path = records.node_path(self.job_dir, self.record.node)
        written = self.record.to_json()
        try:
            files.write_json(path, written, patience_s, durably)
        except OSError as error:
            self.log.say(f"{path}: {error.strerror}")
            if self.record.state == contract.NODE_ENDED:
                files.overwrite_json(path, records.in_short(self.record).to_json())
        else:
            self._written = written

    def beat(self) -> None:
        """A sign of life. Where nothing else is new, and not on node 0, it is the file's own time: one operation."""
        before, now = self._written, time.time()
        if self.record.touched and before and {**self.record.to_json(), "time": before["time"]} == before:
            with contextlib.suppress(OSError):
                os.utime(records.node_path(self.job_dir, self.record.node), (now, now))
                return
        self.save(durably=False)

    def enter(self, state: str) -> None:
        """A new state of this node, written at once."""
        self.record.state = state
        self.save()

    def note_phase(self, phase: str | None, since: float | None = None) -> None:
        """What the node is at, written at once where it is news."""
        if phase != self.record.phase:
            before, begun, now = self.record.phase, self.record.phase_since, since or time.time()
            if before in (contract.PHASE_STARTUP, contract.PHASE_LAUNCHER) and begun is not None:
                self.past_phases(contract.BY_AGENT, [{"phase": before, "since": begun, "until": max(begun, now)}])
            self.record.phase, self.record.phase_since = phase, now
            self.save()

    def past_phases(self, seen_by: str, phases: list[dict[str, Any]]) -> None:
        """Lines of phases.jsonl."""
        if self.record.node == 0 and phases:
            self._append(contract.PHASES, [{"attempt": self.record.attempt, "by": seen_by, **each} for each in phases])

    def event(self, state: str, **details: Any) -> None:
        """A line of events.jsonl."""
        if self.record.node != 0:
            return
        self._append(
            contract.EVENTS, [{"time": time.time(), "state": state, "attempt": self.record.attempt, **details}]
        )

    def _append(self, name: str, entries: list[dict[str, Any]]) -> None:
        try:
            files.append_json(os.path.join(self.job_dir, name), entries)
        except OSError as error:
            self.log.say(f"{name}: {error.strerror}")

    def follow_metrics(self) -> None:
        """From now on, rank 0's log becomes metrics."""
        if self.record.node == 0:
            log = os.path.join(self.job_dir, contract.rank_log(0))
            self._follower = Follower(self._backend, log, os.path.join(self.job_dir, contract.METRICS))

    def poll_metrics(self, to_end: bool = False) -> None:
        """Take what the log has got since the last time; `to_end` also a line that is not finished."""
        follower = self._follower
        if follower is None:
            return
        if to_end:
            follower.drain()
        else:
            follower.poll()
        if follower.step is not None and self.record.step is None:
            self.event(contract.EVENT_TRAINING, step=follower.step)
        self.record.step, self.record.first_step = follower.step, follower.first_step
        self.record.save_s = follower.progress.save_s
        self.past_phases(contract.BY_LOG, follower.take_saves())

    @property
    def progress(self) -> Progress | None:
        """What rank 0's log tells of the training; node 0's agent has it, once the training was started."""
        return self._follower.progress if self._follower else None


def _first_record(spec: Spec, node: int) -> NodeRecord:
    return NodeRecord(
        job_id=spec.job_id,
        node=node,
        nnodes=spec.nnodes,
        attempt=chain.attempt(os.environ),
        host=nodes.host_name(os.environ),
        agent_pid=os.getpid(),
        agent_start=procs.identity_of(os.getpid()),
        started=time.time(),
        secrets_file=spec.secrets_file,
        oom_kills=oom_kills.count(),
        finished=backends.finished_mark(spec.run_dir) if node == 0 else None,
        machine=contract.this_machine(),
        touched=node != 0,  # the launcher reads node 0's, at times through a shell
    )
