"""The watcher, parent of one training process: passes SIGTERM on, and writes down how and when the process ended."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from dataclasses import asdict, dataclass
from typing import Any, Iterator

import contract

from . import evidence, procs
from .backends import Backend
from .error_line import kept
from .files import read_json, write_json
from .log import tail
from .rank_files import error_path, forbid_restarts, keep_room, record_path
from .records import RankRecord

RECORD_PATIENCE_S = 10.0  # of a full disk
_POLL_S = 1.0
_KILL_S = 10.0
_EXIT_PATIENCE_S = 60.0  # after an exception: threads and atexit handlers that never end must not hold the job


@dataclass(frozen=True)
class RankLog:
    """The rank's log, and where this attempt's part of it starts."""

    path: str
    offset: int


class Watcher:
    """The parent of one training process."""

    def __init__(
        self,
        directory: str,
        record: RankRecord,
        log: RankLog,
        alive: int,
        wake: int,
        stacks: str,
        backend: Backend,
    ) -> None:
        self._directory = directory
        self._record = record
        self._log = log
        self._alive = alive
        self._wake = wake
        self._stacks = stacks
        self._backend = backend
        self._status: int | None = None
        self._launcher_group = (
            _launchers_group() if os.environ.get(contract.LAUNCHER_VAR) == contract.FT_LAUNCHER else None
        )

    def run(self) -> int:
        """Watch to the end of the training process; returns its exit code, or ends by its signal."""
        self._save()
        keep_room(self._directory, self._record.rank)
        while not self._reap():
            select.select([self._wake, self._alive], [], [], _POLL_S)
            self._pass_signals_on()
            if self._agent_is_gone():
                self._kill_monitors()
                _kill_below(os.getpid())
                import shutil  # seldom needed

                shutil.rmtree(self._directory, ignore_errors=True)  # nobody else will
            self._end_stuck_exit()
        if self._agent_is_gone():  # while it lives, it ends what a rank has left
            _kill_below(os.getpid())
        self._note_end()
        if self._record.code in self._backend.final_codes and os.path.isdir(self._directory):
            forbid_restarts(self._directory)
        self._save()
        self._remove_if_empty()
        return self._end_alike()

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.getsize(self._stacks) == 0:
                os.unlink(self._stacks)

    def _reap(self) -> bool:
        """True once the training process has ended; orphans of it are reaped on the way."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == self._record.pid:
                self._status = status
                return True
            if pid == 0:
                return False

    def _pass_signals_on(self) -> None:
        try:
            signums = os.read(self._wake, 256)
        except BlockingIOError:
            return
        if signal.SIGTERM in signums:
            self._record.told_to_end = self._record.told_to_end or time.time()
            self._save()
            procs.send(self._record.pid, signal.SIGTERM)
        if signal.SIGUSR2 in signums:
            procs.send(self._record.pid, signal.SIGUSR2)

    def _agent_is_gone(self) -> bool:
        """The agent holds the writing end of the pipe for as long as it lives."""
        try:
            return os.read(self._alive, 1) == b""
        except BlockingIOError:
            return False

    def _kill_monitors(self) -> None:
        """ft_launcher dies with the agent; the rank monitors that it forked into its group do not."""
        if self._launcher_group is not None:
            procs.send(self._launcher_group, signal.SIGKILL, group=True)

    def _end_stuck_exit(self) -> None:
        error = self._error()
        if error and time.time() - error["time"] > _EXIT_PATIENCE_S:
            procs.send(self._record.pid, signal.SIGKILL)

    def _error(self) -> Any:
        return read_json(error_path(self._directory, self._record.rank))

    def _note_end(self) -> None:
        record, error, status = self._record, self._error(), self._status
        record.ended = record.failed = time.time()
        if error:
            record.code, record.error, record.traceback = error["code"], error["error"], error["traceback"]
            record.failed = error["time"]
        elif status is not None and os.WIFSIGNALED(status):
            record.code = contract.SIGNALLED + os.WTERMSIG(status)
            record.signal = procs.signal_name(os.WTERMSIG(status))
            record.error = self._signal_error(record.signal)
        else:
            record.code = os.WEXITSTATUS(status) if status is not None else 1
            record.error = self._last_line() or f"exit code {record.code}" if record.code else None
        if not record.code:
            record.failed = None
            return
        self._note_known()

    def _note_known(self) -> None:
        """What is known of the error, by its own words or by the log's."""
        record = self._record
        found = evidence.of_rank(record.error, record.traceback, self._end_of_log(), self._is_step)
        if found is None:
            return
        record.known = found.signature.id
        line = kept(found.line)
        record.evidence = None if line == record.error else line

    def _end_of_log(self) -> Iterator[str]:
        """Read only where somebody takes a line: most errors tell by themselves what they are."""
        yield from tail(self._log.path, self._log.offset)

    def _is_step(self, line: str) -> bool:
        return evidence.is_step(line, self._backend)

    def _signal_error(self, name: str) -> str:
        last = self._last_line() if name == "SIGABRT" else None  # abort() mostly says why before
        return "killed by {}{}".format(name, ": " + last if last else "")

    def _last_line(self) -> str | None:
        """The log's last line; one that calls itself the error is better than advice that comes after it."""
        lines = tail(self._log.path, self._log.offset)
        named = [line for line in lines[-20:] if line.lower().startswith(("error:", "fatal:"))]
        return kept((named or lines)[-1]) if lines else None

    def _save(self) -> None:
        if not os.path.isdir(self._directory):  # the agent is gone
            return
        try:
            write_json(record_path(self._directory, self._record.rank), asdict(self._record), RECORD_PATIENCE_S)
        except (
            OSError
        ) as error:  # the agent then sees a watcher that ended without a record, and how the launcher ended
            os.write(2, f"node agent's worker: {error}\n".encode())

    def _end_alike(self) -> int:
        """End as the training process did, so that torchrun's own report is true as well."""
        status = self._status
        if status is not None and os.WIFSIGNALED(status) and self._record.signal is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
            signum = os.WTERMSIG(status)
            if signum != signal.SIGKILL:
                signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        return self._record.code or 0


def _launchers_group() -> int | None:
    """The process group that the agent made for the launcher, this process's parent; None where that is gone."""
    parent = os.getppid()
    try:
        return parent if os.getpgid(parent) == parent else None
    except ProcessLookupError:
        return None


def _kill_below(pid: int) -> None:
    """Kill all of it, also what is forked meanwhile."""
    end = time.monotonic() + _KILL_S
    while (left := procs.descendants(pid)) and time.monotonic() < end:
        for victim in left:
            procs.send(victim, signal.SIGKILL)
        time.sleep(0.02)
