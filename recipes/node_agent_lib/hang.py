"""What one node does about a hang: node 0 sees it and tells the others; each dumps its ranks' stacks and ends them."""

from __future__ import annotations

import time
from typing import Callable, Mapping

import contract

from . import backends, notify, stacks
from .activity import Activity
from .auto_stall import AutoStall
from .journal import Journal
from .outside import every_s
from .peers import Peers
from .records import Failure, NodeReader, NodeRecord
from .spec import Spec
from .stall import Hung, Stall
from .training import Training

_BACKSTOP = 2  # times `stall`: ft_launcher's own monitors come first, and start the ranks again
_ACTIVE_EVERY_S = 60.0
_ACTIVE_S = 150.0  # a node whose processes have worked within it
_HEARD_S = 300.0  # and whose agent has written within it
_LOOKS = 2  # of every other node, until it has seen the marker; ranks that die here would end theirs
_DUMP_S = 6.0  # and to dump


class HangWatch:
    """Contract: one per training; `check` is called while it runs."""

    def __init__(self, spec: Spec, journal: Journal, peers: Peers, reap: Callable[[], None]) -> None:
        self._spec = spec
        self._journal = journal
        self._peers = peers
        self._reap = reap
        self._py_spy: str | None = None
        self._restarts = 0
        self._activity = Activity()
        self._active_at = 0.0
        self._stall = self._make()

    def _make(self) -> Stall | AutoStall | None:
        spec, torchrun = self._spec, self._spec.launch != "python"
        if spec.stall_s is None:
            return None
        if isinstance(spec.stall_s, str):
            return AutoStall(torchrun and backends.get(spec.backend).takes_steps, self._activity, self._others_work)
        return Stall(spec.stall_s * (_BACKSTOP if spec.restarts else 1), torchrun)

    def prepare(self, python: str, environ: Mapping[bytes, bytes]) -> None:
        """Find py-spy where the training's Python is."""
        self._py_spy = stacks.find_py_spy(python, environ) if self._stall else None

    def check(self, training: Training) -> Failure | None:
        """Why the ranks are to be killed now; their stacks are in logs/ then."""
        if self._stall is None:
            return None
        if self._peers.hung:
            self._dump(training, "the training hangs, says node 0")
            return Failure(contract.HUNG, "ended because the training hung", time.time(), victim=True)
        progress = self._journal.progress
        if progress is None:
            self._note_active()
            return None
        if self._peers.failed:
            return None
        if training.restarts != self._restarts:
            self._restarts = training.restarts
            self._stall.restarted(progress)
        if isinstance(self._stall, AutoStall):
            self._stall.phase = training.phase
        hung = self._stall.check(progress, time.monotonic())
        return self._end(training, hung) if hung else None

    def _note_active(self) -> None:
        """Not on node 0: that its processes work, for node 0's agent to see."""
        now = time.monotonic()
        if not isinstance(self._stall, AutoStall) or now - self._active_at < _ACTIVE_EVERY_S:
            return
        self._active_at = now
        seen = self._activity.look(now)
        if seen.computes or seen.transfers or seen.waits:
            self._journal.record.active = time.time()

    def _others_work(self) -> bool:
        own = self._journal.record
        found = NodeReader(self._spec.job_dir, own.attempt).each()
        return any(_works(node) for node in found if node.attempt == own.attempt and node.node != own.node)

    def _end(self, training: Training, hung: Hung) -> Failure:
        now, began = time.time(), time.monotonic()
        error = "hung: " + self._describe(hung)
        self._journal.log.say(error)
        self._journal.event(contract.EVENT_HUNG, idle_s=round(hung.idle_s, 1), step=self._journal.record.step)
        self._peers.tell_hung()
        remarkable = self._dump(training, error)
        failure = Failure(contract.HUNG, "; ".join([error, "stacks in logs/stack-<rank>.txt", *remarkable]), now)
        self._journal.record.failure = failure  # at once: srun ends this agent soon after the first other one has gone
        self._journal.save()
        record = self._journal.record
        notify.hung(self._spec.job_dir, record.attempt, record.step, error, record.host, self._journal.log.say)
        patience_s = _LOOKS * every_s(self._spec.nnodes) + _DUMP_S
        while time.monotonic() - began < patience_s and not self._peers.others_have_ended():
            time.sleep(0.5)
            self._reap()
        return failure

    def _describe(self, hung: Hung) -> str:
        step = self._journal.record.step
        phase = self._journal.record.phase
        if step is None:
            at = f" (phase: {phase})" if phase else ""
            return f"nothing was logged for {hung.idle_s:.0f} s before the first step{at}"
        usual = f", of {hung.step_s:.1f} s usually" if hung.step_s is not None else ""
        return f"no step for {hung.idle_s:.0f} s after step {step}{usual}"

    def _dump(self, training: Training, why: str) -> list[str]:
        return stacks.dump(self._spec.job_dir, training.living(), why, self._py_spy, self._reap)


def _works(node: NodeRecord) -> bool:
    if node.active is None or node.state == contract.NODE_ENDED:
        return False
    return node.time - node.active < _ACTIVE_S and abs(time.time() - node.time) < _HEARD_S
