"""This node's training processes: start them, know them, ask them to stop, kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Callable, Mapping

import contract

from . import procs
from .phases import Phase
from .rank_files import ALIVE, Context, forbid_restarts, ranks_found, read_records, write_context
from .records import RankRecord
from .ulimits import Ulimits

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Training:
    """torchrun (or ft_launcher) and its ranks, or the single worker of a job without either.

    torchrun is started with the stop signals ignored: whoever signals all processes of the job (Slurm does, depending
    on its proctrack plugin) would otherwise make it kill ranks that are saving a checkpoint.
    """

    def __init__(self, directory: str, ranks: tuple[int, ...], restartable: bool = False) -> None:
        """`restartable`: a rank may be started again, and only its last life counts; ranks tells only how many."""
        self.pid: int | None = None
        self.records: dict[int, RankRecord] = {}
        self._directory = directory
        self._ranks = ranks
        self._restartable = restartable
        self._unrecorded: set[int] = set()  # ranks whose watcher is gone and has left no record of their end
        self._told: dict[int, float] = {}  # by the pid of the rank's watcher
        self.restarts = 0  # ranks that were started again
        self.replaced: list[RankRecord] = []  # how their earlier lives ended, until somebody takes them from here
        self.killed: float | None = None
        self.phase: Phase | None = None  # what a rank has told of itself; the one who watches keeps it up to date

    def prepare(self, context: Context) -> None:
        """What the workers find in the private directory; the pipe is held open for life, and its end tells them."""
        write_context(self._directory, context)
        pipe = os.path.join(self._directory, ALIVE)
        os.mkfifo(pipe, 0o600)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # not O_RDWR, which POSIX leaves open for a pipe
        self._alive = os.open(pipe, os.O_WRONLY | os.O_CLOEXEC)
        os.close(reader)

    def start(
        self, command: list[str], cwd: str, environ: Mapping[bytes, bytes], output: int, ulimits: Ulimits
    ) -> None:
        """Start it in a session of its own; it dies with this process."""
        agent = os.getpid()

        def before_exec() -> None:
            for signum in _IGNORED:
                signal.signal(signum, signal.SIG_IGN)
            procs.die_with_parent(agent)
            ulimits.apply()

        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=before_exec,
        )
        process.returncode = 0  # the agent reaps its children itself
        self.pid = process.pid

    def refresh(self) -> None:
        """Read the ranks' records; one whose watcher is gone without a record was killed."""
        for record in read_records(self._directory, self._to_read()):
            known = self.records.get(record.rank)
            if known is not None and known.worker != record.worker:
                self.restarts += 1
                self.replaced.append(known)
            elif known is not None and known.ended is not None:
                continue
            self.records[record.rank] = self._finished(record)

    def _to_read(self) -> tuple[int, ...]:
        if self._restartable:  # the rendezvous gives out the ranks, and need not follow the nodes' numbers
            return ranks_found(self._directory)
        return tuple(rank for rank in self._ranks if rank not in self.records or self.records[rank].ended is None)

    def _finished(self, record: RankRecord) -> RankRecord:
        if record.ended is None and not procs.alive(record.worker, record.worker_start):
            again = read_records(self._directory, (record.rank,))  # it may have ended between the two looks
            record = again[0] if again else record
            if record.ended is None:
                self._unrecorded.add(record.rank)
                record.ended = record.failed = time.time()
                record.code, record.signal = contract.SIGNALLED + signal.SIGKILL, "SIGKILL"
                record.error = "killed by SIGKILL"
        told = [item for item in (record.told_to_end, self._told.get(record.worker), self.killed) if item is not None]
        record.told_to_end = min(told) if told else None
        return record

    def take_launchers_word(self, code: int, alone: bool) -> None:
        """Of a rank that had no room for its record. A launcher that has ended with 0 says it of every rank; `alone`:
        there is none, but the one rank's watcher, which ends as that has."""
        for rank in self._unrecorded if code == 0 or alone else ():
            record = self.records[rank]
            record.code, record.signal, record.error = code, None, f"exit code {code}" if code else None
            record.failed = record.failed if code else None

    def living(self) -> list[RankRecord]:
        """The ranks that have started and not ended."""
        return [record for record in self.records.values() if record.ended is None]

    def all_ended(self) -> bool:
        """Whether every rank of this node has started and ended."""
        return len(self.records) == len(self._ranks) and not self.living()

    def succeeded(self) -> bool:
        """Whether every rank of this node ended with 0."""
        return self.all_ended() and all(record.code == 0 for record in self.records.values())

    def failed_on_its_own(self) -> bool:
        """Whether a rank failed that nobody had told to end."""
        return any(
            record.code and (record.told_to_end is None or (record.failed or 0.0) <= record.told_to_end)
            for record in self.records.values()
        )

    def ask(self) -> None:
        """SIGTERM to every rank, once each, and to nobody else. Before there are ranks nothing can be saved: kill."""
        if self._restartable:
            forbid_restarts(self._directory)
        if not self.records:
            self.kill()
            return
        for record in self.living():
            if record.worker not in self._told:
                self._told[record.worker] = time.time()
                if procs.alive(record.pid, record.pid_start):
                    procs.send(record.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self.killed = self.killed or time.time()
        if self.pid is not None:
            procs.send(self.pid, signal.SIGKILL, group=True)
        for record in self.living():
            if procs.alive(record.pid, record.pid_start):
                procs.send(record.pid, signal.SIGKILL, group=True)


def kill_rest(root: int, reap: Callable[[], None], polite_s: float, limit_s: float = 10.0) -> int:
    """End every process left below `root`, with SIGTERM and some time before SIGKILL; returns how many are left."""
    began = time.monotonic()
    asked: list[int] = []
    while True:
        reap()
        rest = procs.descendants(root)
        waited = time.monotonic() - began
        if not rest or waited > polite_s + limit_s:
            return len(rest)
        for pid in rest:
            if waited >= polite_s:
                procs.send(pid, signal.SIGKILL)
            elif pid not in asked:
                asked.append(pid)
                procs.send(pid, signal.SIGTERM)
        time.sleep(0.05)
