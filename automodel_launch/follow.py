"""A running job's log and progress, until it ends. New bytes only; ends with the job's own exit code."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from automodel_launch import executors
from automodel_launch.jobdir import JobDir
from automodel_launch.jobs import Record, Status
from automodel_launch.progress import Progress

POLL_S = 0.2
SECOND_INTERRUPT_S = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Tail:
    """New bytes of a growing file, in whole lines."""

    path: Path
    offset: int = 0
    rest: bytes = b""

    def lines(self, last: bool = False) -> Iterator[str]:
        """Lines since the last call; with `last`, also an unfinished one."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:  # another file of that name
                    self.offset, self.rest = 0, b""
                file.seek(self.offset)
                new = file.read()
        except OSError:
            new = b""
        self.offset += len(new)
        *whole, self.rest = (self.rest + new).split(b"\n")
        if last and self.rest:
            whole, self.rest = [*whole, self.rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]  # a progress bar overwrites its line


@dataclass
class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP while following: what to do is the executor's matter, see `Follower.interrupted`."""

    received: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Collect the signals instead of dying of them."""
        old = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        self.received.append((number, time.monotonic()))


@dataclass
class Follower:
    """Follows one job. `out` takes the log, `err` our own talk and, on a terminal, the live line."""

    record: Record
    ranks: list[int] | None = None  # None: every rank that has a log
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.job = JobDir(Path(self.record.job_dir))
        self.tails: dict[int, Tail] = {}
        self.metrics = Tail(self.job.path / "metrics.jsonl")
        self.progress = Progress(self.record.max_steps)
        self.live = self.err.isatty()
        self.handled = 0

    def run(self) -> tuple[Status, int]:
        """Follow to the end; the job's last status and the exit code for this command.

        130 when Ctrl-C ended the following, 143 and 129 for SIGTERM and SIGHUP.
        """
        interrupts = Interrupts()
        with interrupts.caught():
            while True:
                status = executors.get(self.record.executor).status(self.record)
                self._emit(last=status.over)
                if status.over:
                    self._erase()
                    return status, self._code(status, interrupts)
                if self.interrupted(interrupts):
                    self._erase()
                    return status, 128 + interrupts.received[0][0]
                self._show()
                self.sleep(POLL_S)

    def interrupted(self, interrupts: Interrupts) -> bool:
        """Act on new signals; True when the following shall end while the job goes on."""
        new, self.handled = interrupts.received[self.handled :], len(interrupts.received)
        if not new:
            return False
        executor = executors.get(self.record.executor)
        second = len(interrupts.received) > 1
        if not executor.interrupt_stops and not second:
            self._say(f"detached; {self.record.job_id} goes on. Press Ctrl-C again within 3 s to cancel it.")
            self.sleep(SECOND_INTERRUPT_S)
            if len(interrupts.received) == 1:
                return True
        self._say("killing the job" if second else "stopping the job; it may save a checkpoint first (again: kill)")
        if executor.status(self.record).over:
            return False
        executor.cancel(self.record, now=second)
        return False

    def _code(self, status: Status, interrupts: Interrupts) -> int:
        if interrupts.received:
            return 128 + interrupts.received[0][0]
        return exit_code(status)

    def _emit(self, last: bool) -> None:
        for rank in self.ranks if self.ranks is not None else self.job.ranks():
            tail = self.tails.setdefault(rank, Tail(self.job.log(rank)))
            mark = f"[{rank}] " if self.ranks is None or len(self.ranks) > 1 else ""
            for line in tail.lines(last):
                self._erase()
                self.out.write(f"{mark}{line}\n")
        self.out.flush()
        for line in self.metrics.lines(last):
            self.progress.add(line)

    def _show(self) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.err.write(f"\r\x1b[2K{self.progress.line()[:width]}")
            self.err.flush()

    def _erase(self) -> None:
        if self.live:
            self.err.write("\r\x1b[2K")
            self.err.flush()

    def _say(self, text: str) -> None:
        self._erase()
        self.err.write(f"{text}\n")
        self.err.flush()


def exit_code(status: Status) -> int:
    """The job's own code; 1 where a job that did not complete has none."""
    if status.state == "COMPLETED":
        return 0
    code = status.code or 1
    return 128 - code if code < 0 else code  # a negative one is a signal's number


def closing_block(record: Record, status: Status) -> str:
    """What happened, in a few lines: state, first error with rank and node, where to look, where the result is."""
    from automodel_launch import rundir

    lines = [f"{record.job_id}: {status.state}" + (f", exit code {status.code}" if status.code else "")]
    if status.error:
        where = f" (rank {status.rank} on {status.node})" if status.rank is not None else ""
        lines.append(f"  error: {status.error}{where}")
    if status.log and status.state != "COMPLETED":
        lines.append(f"  log: {Path(record.job_dir, status.log)}")
    last = JobDir(Path(record.job_dir)).last_metrics()
    if last:
        lines.append(f"  last step: {last['step']}, loss {last['loss']}")
    end = rundir.finished(Path(record.run_dir)) if status.state == "COMPLETED" else None
    if end:
        lines.append(f"  checkpoint: {end.get('checkpoint')}")
        if end.get("hf"):
            lines.append(f"  for transformers: {end['hf']}")
    if not status.over:
        lines.append(f"  follow: python launch.py attach {record.job_id}")
    elif status.state != "COMPLETED":
        lines.append(f"  all logs: python launch.py logs {record.job_id} --rank all")
    return "\n".join(lines)
