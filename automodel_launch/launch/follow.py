"""A running job's log and progress, until it ends. New bytes only; ends with the job's own exit code."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from automodel_launch import contract, executors, streams
from automodel_launch.backends import noise
from automodel_launch.backends.noise import Noise
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.harmless import harmless
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import cancelling, state, waiting
from automodel_launch.launch.closing import exit_code
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.pace import Pace
from automodel_launch.launch.progress import Progress
from automodel_launch.launch.quiet import Quiet, noise_of
from automodel_launch.launch.tails import Tail, new_lines, shown

SECOND_INTERRUPT_S = 3.0
PHASE_EVERY_S = 2.0
METRICS, EVENTS = -1, -2  # beside the ranks
FORGOTTEN_S = 60.0  # a record that a network file system shows late is still found within it


@dataclass
class Follower:
    """Follows one job. `out` takes the log, `err` our own talk and, on a terminal, the live line."""

    record: Record
    ranks: list[int] | None = None  # None: every rank that has a log
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    err: IO[str] = field(default_factory=lambda: sys.stderr)
    sleep: Callable[[float], None] = time.sleep
    watch: Callable[[Status], bool] = lambda _: False  # sees each state; True ends the following
    shown: Callable[[str], str] = lambda line: shown(line)  # a line of the log as it is written to `out`
    own: bool = False  # the job was started by this command: on this machine, its terminal is the job's
    only_looks: bool = False  # a second Ctrl-C cancels nothing either
    keep: Callable[[int, str], bool] = lambda rank, line: True  # whether a rank's line is shown
    verbose: bool = True  # every line of the log; else without what its backend lists as noise (launch/quiet.py)

    def __post_init__(self) -> None:
        self.place = executors.get(self.record.executor).place_of(self.record)
        self.job = JobDir(self.record.job_dir, self.place)
        self.tails: dict[int, Tail] = {
            number: Tail(self.job.file(name), place=self.place)
            for number, name in ((METRICS, contract.METRICS), (EVENTS, contract.EVENTS))
        }
        self.pace = Pace(executors.get(self.record.executor).poll_s)
        self._status = Status("UNKNOWN")
        self.progress = Progress(self.record.max_steps)
        self.live = self.err.isatty()
        self.phase_asked: float | None = None
        self.handled = 0
        self.said: tuple[str, ...] = ()
        self.forgotten_since: float | None = None
        self.hung_up = False
        self.silent = False  # the log cannot be written, and that has been said
        self.noise: Noise | None = None if not self.verbose else noise.NONE
        self.quiet: dict[int, Quiet] = {}

    def run(self, interrupts: Interrupts | None = None) -> tuple[Status, int]:
        """Follow to the end; the job's last status and the exit code for this command.

        `interrupts` holds signals that came while the job was submitted. 130 when Ctrl-C ended the following, 143 and
        129 for SIGTERM and SIGHUP.
        """
        interrupts = interrupts or Interrupts()
        with interrupts.caught():
            while True:
                if len(interrupts.received) > self.handled:
                    self.pace.hurry()  # a job that has just ended is not stopped
                status = self._look()
                if status.over or self._is_lost(status):
                    self._erase()
                    self._tell_hidden()
                    return status, self._code(status, interrupts)
                self._tell(status)
                if self.watch(status):
                    self._erase()
                    return status, self._code(status, interrupts)
                if self.hung_up and not interrupts.received:
                    interrupts.received.append((signal.SIGHUP, time.monotonic()))
                if self.interrupted(interrupts):
                    self._erase()
                    return status, interrupts.code
                self._show()
                self.sleep(executors.get(self.record.executor).poll_s)

    def _look(self) -> Status:
        """The job's state, with what it has logged until then; UNKNOWN while either cannot be had.

        The state is that of a moment ago where its own files tell nothing new.
        """
        if self.pace.due:
            self._status = waiting.of(self.record)
            self.pace.note(self._status)
        try:
            self._emit(last=self._status.over)
        except ClusterError as error:
            return Status("UNKNOWN", error=error.message)
        return self._status

    def _is_lost(self, status: Status) -> bool:
        """Nobody knows the job any longer and it has left no record: its result cannot be told."""
        if not status.forgotten:
            self.forgotten_since = None
            return False
        self.forgotten_since = self.forgotten_since or time.monotonic()
        return time.monotonic() - self.forgotten_since > FORGOTTEN_S

    def _tell(self, status: Status) -> None:
        """What the job waits for, or why nothing can be said of it; once for each news.

        An estimated start moves with every other job: it is said once. So is an outage, whose words change as well.
        """
        reason, _, estimate = (status.reason or "").partition(", estimated start ")
        news: tuple[str, ...] = (status.state, reason, "estimated" if estimate else "")
        if status.state == "UNKNOWN":
            news = ("UNKNOWN",)
        elif status.state == "RUNNING" and not reason:  # what is expected
            news = ()
        if news == self.said:
            return
        advice = f"; {status.advice}" if status.advice else ""
        if status.state == "PENDING":
            self._say(f"{waiting.words(status)}{advice}")
        elif status.state == "UNKNOWN":
            self._say(f"cannot tell the job's state, and leave it alone: {status.error}")
        else:
            self._say(f"{status.state.lower()}{f' on {status.node}' if status.node else ''}")
            if status.reason:
                self._say(f"{status.reason}{advice}")
        self.said = news

    def interrupted(self, interrupts: Interrupts) -> bool:
        """Act on new signals; True when the following shall end while the job goes on.

        Only a job that was started on this terminal is stopped by them. A terminal that is closed sends a hang-up more
        than once, and never by somebody's will: it neither cancels nor kills.
        """
        new, stopping = interrupts.received[self.handled :], self.handled > 0
        if not new:
            return False
        if not self._stops and not stopping and not self._to_be_cancelled(interrupts):
            return True
        self.handled = len(interrupts.received)
        kill = stopping and any(number != signal.SIGHUP for number, _ in new)
        if stopping and not kill:
            return False
        self._say("killing the job" if kill else "stopping the job; it may save a checkpoint first (again: kill)")
        try:
            now = state.of(self.record)
            told = None if now.over else cancelling.ask(self.record, now, now=kill)
        except (ClusterError, JobError) as error:
            self._say(f"not cancelled: {error.message}")
        else:
            if told:
                self._say(told)
        return False

    @property
    def _stops(self) -> bool:
        return self.own and executors.get(self.record.executor).interrupt_stops

    def _to_be_cancelled(self, interrupts: Interrupts) -> bool:
        """Leave the job alone, unless Ctrl-C is pressed twice."""
        leaves = f"detached; {self.record.job_id} goes on."
        if self.only_looks or interrupts.received[0][0] != signal.SIGINT:
            self._say(leaves)
            return False
        self._say(f"{leaves} Press Ctrl-C again within {SECOND_INTERRUPT_S:.0f} s to cancel it.")
        self.sleep(SECOND_INTERRUPT_S)
        again = [number for number, _ in interrupts.received[1:]]
        return bool(again) and set(again) == {signal.SIGINT}

    def _code(self, status: Status, interrupts: Interrupts) -> int:
        if interrupts.received:
            return interrupts.code
        return exit_code(status)

    def _emit(self, last: bool) -> None:
        if self.noise is None:  # before anything is read, which would be lost where this cannot be had
            self.noise = noise_of(self.job)
        for rank in self.ranks if self.ranks is not None else self.job.ranks():
            self.tails.setdefault(rank, Tail(self.job.log(rank), place=self.place))
        marked = self.ranks is None or len(self.ranks) > 1
        for rank, line in new_lines(self.tails, self.place, last):
            if rank == METRICS:
                self.progress.add(line)
                continue
            if rank == EVENTS:
                self.pace.hurry()
                continue
            quiet = self.quiet.setdefault(rank, Quiet(self.noise or noise.NONE))
            kept = quiet.line(line)
            if kept is None or not self.keep(rank, line):
                continue
            self._erase()
            line = self.shown(kept)
            self._write(self.out, f"[{rank}] {line}\n" if marked else f"{line}\n", flush=False)
        self._write(self.out, "")

    def _tell_hidden(self) -> None:
        hidden = sum(quiet.hidden for quiet in self.quiet.values())
        if hidden:
            self._say(f"{hidden} lines of the framework's own are in the log alone; --verbose shows them")

    def _show(self) -> None:
        if self.live:
            self._ask_phase()
            width = shutil.get_terminal_size().columns - 1
            self._write(self.err, f"\r\x1b[2K{self.progress.line()[:width]}")

    def _ask_phase(self) -> None:
        """A further round trip, so only before the first step, and not at every look."""
        now = time.monotonic()
        if self.progress.steps or (self.phase_asked is not None and now - self.phase_asked < PHASE_EVERY_S):
            return
        self.phase_asked = now
        with contextlib.suppress(ClusterError):  # the next look tells of it
            self.progress.note_phase(self.job.phase())

    def _erase(self) -> None:
        if self.live:
            self._write(self.err, "\r\x1b[2K")

    def _say(self, text: str) -> None:
        self._erase()
        self._write(self.err, f"{harmless(text)}\n")

    def _write(self, stream: IO[str], text: str, flush: bool = True) -> None:
        """Write. A terminal that is gone takes nothing more, and counts as a hang-up; a full disk is no end of the job.

        Raises:
            BrokenPipeError: the reader (`| head`) has gone.
        """
        try:
            stream.write(text)
            if flush:
                stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self.hung_up = self.hung_up or error.errno == errno.EIO
            told = streams.said(stream, error)
            streams.to_nowhere(stream)
            if not self.hung_up and stream is not self.err and not self.silent:
                self.silent = True
                self._say(f"{told}; {self.record.job_id} is followed to its end without its log")
