"""Is this node to go on? Signals, the starter's end, stop files, the time limit, other nodes and later attempts."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import contract

from . import chain, procs, records, stops
from .errors import Superseded
from .journal import Journal
from .limits import TimeLimit
from .loop import Loop
from .outside import Outside
from .peers import Peers
from .records import Noticed, Stop
from .spec import Spec

_OUTSIDE_EVERY_S = 1.0  # how often it is asked whether it is time for a look (outside.py)
_SECOND_SIGNAL_S = 1.0  # one Ctrl-C can arrive twice


@dataclass(frozen=True)
class Parent:
    """The process whose end stops the job."""

    pid: int
    start: int | str | None


class Control:
    """Contract: one per process, made on the main thread; `tick` is called all the time until the node has ended."""

    def __init__(self, spec: Spec, journal: Journal, parent: Parent | None) -> None:
        self.force = False  # somebody has asked twice: kill
        self.peers = Peers(spec.job_dir, spec.nnodes, journal.record.attempt, journal.log.say)
        self.loop = Loop(journal.log.arriving, journal.log.take)
        self._spec = spec
        self._journal = journal
        self._parent = parent
        self._limit = TimeLimit(os.environ, spec.stop_grace_s)
        self._outside = Outside(spec.job_dir, spec.run_dir, spec.nnodes)
        self._deadline = 0.0
        self._asked_at = 0.0  # to stop

    @property
    def stop(self) -> Stop | None:
        """Who has asked the job to stop, once somebody has."""
        return self._journal.record.stop

    @property
    def grace_is_over(self) -> bool:
        """Whether ranks that were asked to stop have had their time."""
        return self.force or time.monotonic() > self._deadline

    def tick(self) -> None:
        """Wait for a moment, and take in what has happened meanwhile.

        Raises:
            Superseded: a later attempt has begun.
        """
        for signum, came_at in self.loop.wait():
            self._take_signal(signum, came_at)
        if self._parent and self.loop.due("parent", 1.0) and not procs.alive(self._parent.pid, self._parent.start):
            self._parent = None
            self._ask_to_stop(signal.SIGTERM, contract.STOP_BY_PARENT)
        self._journal.poll_metrics()
        if self.loop.due("outside", _OUTSIDE_EVERY_S):
            if self._outside.changed():
                self._check_files()
            self._check_clock()
        if self.loop.due("heartbeat", self._spec.heartbeat_s):
            self._journal.beat()

    def _check_files(self) -> None:
        self.peers.refresh()
        if chain.superseded(self._spec.job_dir, self._journal.record.attempt):
            raise Superseded
        stop_file = stops.path_of(self._spec.job_dir, self._spec.run_dir)
        if stop_file:
            self._ask_to_stop(signal.SIGTERM, stop_file)

    def note_failure(self) -> None:
        """Something has failed here and no stop was heard of: is there one all the same? Clocks of nodes differ."""
        record = self._journal.record
        if record.noticed is None and record.stop is None:
            stopped = stops.path_of(self._spec.job_dir, self._spec.run_dir) is not None
            if record.node and not stopped:
                first = records.read_node(self._spec.job_dir, 0)
                stopped = first is not None and first.attempt == record.attempt and first.stop is not None
            record.noticed = Noticed(time.time(), stopped)

    def _check_clock(self) -> None:
        if self._journal.record.node == 0 and self._limit.is_near(self._journal.progress):
            self._ask_to_stop(signal.SIGTERM, self._limit.reason)

    def _take_signal(self, signum: int, came_at: float) -> None:
        if self.stop is None:
            warned = signum == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ
            self._ask_to_stop(signum, contract.STOP_BY_WARNING if warned else contract.STOP_BY_SIGNAL)
        elif signum in (signal.SIGTERM, signal.SIGINT) and came_at - self._asked_at >= _SECOND_SIGNAL_S:
            self._journal.log.say(f"{procs.signal_name(signum)} again: killing")
            self.force = True

    def _ask_to_stop(self, signum: int, reason: str) -> None:
        if self.stop is not None:
            return
        name = procs.signal_name(signum)
        self._journal.record.stop = Stop(name, signum, time.time(), reason)
        self._deadline = time.monotonic() + self._spec.stop_grace_s
        self._journal.log.say(f"stopping: {name} ({reason})")
        self._journal.event(contract.EVENT_STOPPING, signal=name, reason=reason)
        self._journal.save()
        self._asked_at = time.monotonic()  # while a slow file system takes the record, no signal is heard
