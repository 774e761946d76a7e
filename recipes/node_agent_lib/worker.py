"""What torchrun starts as each rank: a watcher that forks the training process.

    torchrun ── watcher (this process, a leader of its own session)
                   └── training process (own process group): runs SCRIPT as __main__

The watcher is there because torchrun, as the ranks' parent, keeps their true end to itself. It writes down how and when
the training process ended, passes SIGTERM on to it and to nobody else (torchrun signals whole groups, and a DataLoader
worker that dies of SIGTERM would spoil the checkpoint being saved), and ends it when the agent is gone. It forks before
anything heavy is imported, so it costs some milliseconds and a few MB.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import resource
import runpy
import select
import shutil
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from . import procs
from .files import read_json, write_json
from .log import tail
from .records import RankRecord, rank_log, read_rank, stack_file
from .room import TORN

AGENT_DIR = "LAUNCH_AGENT_DIR"  # the agent's private directory: context.json, the pipe `alive`, the ranks' records
_POLL_S = 1.0
_EXIT_PATIENCE_S = 60.0  # after an exception: threads and atexit handlers that never end must not hold the job
_TRACEBACK_LINES = 60
_ERROR_CHARS = 500
_RECORD_PATIENCE_S = 10.0
# What torch 2.13 says where its writer of archives could not write: it has forgotten why by then.
_TORN = re.compile(r"inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing")
_FINAL_CODES = (2, 3)  # of recipes/pretrain.py: it would end so again (a config or checkpoints that cannot be used)
_DEFAULTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass
class Context:
    """What the agent tells its workers, as context.json."""

    job_dir: str
    host: str


def write_context(directory: str, context: Context) -> None:
    """Called once by the agent, before any worker starts."""
    write_json(os.path.join(directory, "context.json"), asdict(context))


def record_path(directory: str, rank: int) -> str:
    """Where a rank's record lies."""
    return os.path.join(directory, f"rank-{rank}.json")


def forbid_restarts(directory: str) -> None:
    """Ranks that ft_launcher starts from now on end at once, and leave the records as they are."""
    with contextlib.suppress(OSError):
        os.close(os.open(os.path.join(directory, "no-restarts"), os.O_CREAT | os.O_WRONLY, 0o600))


def ranks_found(directory: str) -> tuple[int, ...]:
    """The ranks that have a record."""
    numbers = (name[len("rank-") : -len(".json")] for name in os.listdir(directory) if name.startswith("rank-"))
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))


def main(script: str, args: list[str]) -> int:
    """Run SCRIPT as this rank; contract: the environment holds LAUNCH_AGENT_DIR, RANK and LOCAL_RANK."""
    directory = os.environ.pop(AGENT_DIR)
    for name in ("PET_SIGNALS_TO_HANDLE", "TORCHELASTIC_SIGNALS_TO_HANDLE"):  # meant for the torchrun above us only
        os.environ.pop(name, None)
    if os.path.exists(os.path.join(directory, "no-restarts")):
        return 1
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    context = Context(**(read_json(os.path.join(directory, "context.json")) or {}))
    log = os.path.join(context.job_dir, rank_log(rank))
    offset = _redirect(log)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, f"error-{rank}.json"))  # of the rank's life before, under ft_launcher
    alive = os.open(os.path.join(directory, "alive"), os.O_RDONLY | os.O_NONBLOCK)
    procs.adopt_orphans()
    watcher = os.getpid()
    wake = _catch_signals()
    stacks = os.path.join(context.job_dir, stack_file(rank))
    child = os.fork()
    if child == 0:
        _become_training(watcher, stacks)
        return _Training(directory, rank, script).run(args)
    record = RankRecord(
        rank, local_rank, context.host, child, procs.start_of(child), watcher, procs.start_of(watcher), time.time()
    )
    return _Watcher(directory, record, log, offset, alive, wake, stacks).run()


def _redirect(log: str) -> int:
    """Standard output and error into the rank's log; returns where this attempt's part of it starts."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    size = os.fstat(fd).st_size
    os.close(fd)
    return size


def _catch_signals() -> int:
    """Signals wake the watcher's loop; returns the pipe's end to wait on."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(signum, lambda *_: None)
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    return read


class _Watcher:
    """The parent of one training process."""

    def __init__(
        self, directory: str, record: RankRecord, log: str, offset: int, alive: int, wake: int, stacks: str
    ) -> None:
        self._directory = directory
        self._record = record
        self._log = log
        self._offset = offset
        self._alive = alive
        self._wake = wake
        self._stacks = stacks
        self._status: int | None = None
        self._launcher_group = _launchers_group() if os.environ.get("LAUNCH_LAUNCHER") == "ft" else None

    def run(self) -> int:
        self._save()
        while not self._reap():
            select.select([self._wake, self._alive], [], [], _POLL_S)
            self._pass_signals_on()
            if self._agent_is_gone():
                self._kill_monitors()
                _kill_below(os.getpid())
                shutil.rmtree(self._directory, ignore_errors=True)  # nobody else will
            self._end_stuck_exit()
        self._note_end()
        if self._record.code in _FINAL_CODES and os.path.isdir(self._directory):
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
        return read_json(os.path.join(self._directory, f"error-{self._record.rank}.json"))

    def _note_end(self) -> None:
        record, error, status = self._record, self._error(), self._status
        record.ended = record.failed = time.time()
        if error:
            record.code, record.error, record.traceback = error["code"], error["error"], error["traceback"]
            record.failed = error["time"]
        elif status is not None and os.WIFSIGNALED(status):
            record.code = 128 + os.WTERMSIG(status)
            record.signal = procs.signal_name(os.WTERMSIG(status))
            record.error = self._signal_error(record.signal)
        else:
            record.code = os.WEXITSTATUS(status) if status is not None else 1
            record.error = self._last_line() or f"exit code {record.code}" if record.code else None
        if not record.code:
            record.failed = None

    def _signal_error(self, name: str) -> str:
        if name == "SIGKILL":
            return "killed by SIGKILL (out of memory?)"
        last = self._last_line() if name == "SIGABRT" else None  # abort() mostly says why before
        return "killed by {}{}".format(name, ": " + last if last else "")

    def _last_line(self) -> str | None:
        """The script's last word; a line that calls itself the error is better than advice that comes after it."""
        lines = tail(self._log, self._offset)
        named = [line for line in lines[-20:] if line.lower().startswith(("error:", "fatal:"))]
        return (named or lines)[-1][:_ERROR_CHARS] if lines else None

    def _save(self) -> None:
        if not os.path.isdir(self._directory):  # the agent is gone
            return
        try:
            write_json(record_path(self._directory, self._record.rank), asdict(self._record), _RECORD_PATIENCE_S)
        except OSError as error:  # the agent then sees a watcher that ended without a word
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
    for victim in procs.descendants(pid):
        procs.send(victim, signal.SIGKILL)


def _become_training(watcher: int, stacks: str) -> None:
    """Undo what the watcher and torchrun did to the signals."""
    os.setpgid(0, 0)
    procs.die_with_parent(watcher)
    signal.set_wakeup_fd(-1)
    for signum in (*_DEFAULTS, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Slurm's early warning may reach every process of the step; the agent turns it into SIGTERM, and a script that
    # wants it for itself sets its own handler.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR2, file=_stacks_fd(stacks), all_threads=True)


def _stacks_fd(path: str) -> int:
    """It has to be open before it is needed; the rank's log takes its place on a full disk."""
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError:
        return 2


class _Training:
    """The script, run as __main__ in this process."""

    def __init__(self, directory: str, rank: int, script: str) -> None:
        self._error_path = os.path.join(directory, f"error-{rank}.json")
        self._script = script
        self._pid = os.getpid()

    def run(self, args: list[str]) -> int:
        """Ends with the script's own code; an exception is recorded at the moment it leaves the script."""
        sys.argv[:] = [self._script, *args]
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = os.path.dirname(os.path.abspath(self._script))
        try:
            runpy.run_path(self._script, run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str) and end.code.strip():
                self._record(1, end.code.strip().splitlines()[0], None)
            raise
        except BaseException as error:
            if os.getpid() != self._pid:  # a child that the script forked by hand: not this rank's error
                raise
            code = 130 if isinstance(error, KeyboardInterrupt) else 1
            trace = error.__traceback__ = _own_frames(error.__traceback__)
            lines = "".join(traceback.format_exception(type(error), error, trace)).rstrip().splitlines()
            self._record(code, error_line(error), "\n".join(lines[-_TRACEBACK_LINES:]))
            sys.excepthook(type(error), error, trace)
            return code
        return 0

    def _record(self, code: int, error: str, trace: str | None) -> None:
        now = time.time()
        if os.getpid() != self._pid:
            return
        try:
            value = {"time": now, "code": code, "error": error[:_ERROR_CHARS], "traceback": trace}
            write_json(self._error_path, value, _RECORD_PATIENCE_S)
            if trace is not None:
                _write_torchelastic(error, trace, now)
        except OSError as problem:
            print(f"node agent's worker: {problem}", file=sys.stderr)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first frame on; all of it where the script has none (a syntax error)."""
    ours = (os.path.abspath(__file__), os.path.abspath(runpy.__file__))
    rest = trace
    while rest is not None:
        name = rest.tb_frame.f_code.co_filename
        if os.path.abspath(name) not in ours and not name.startswith("<frozen runpy"):
            return rest
        rest = rest.tb_next
    return None


def error_line(error: BaseException) -> str:
    """`Type: message` in one line. A failed save of torch's distributed checkpoints names only ranks: its cause."""
    failures = getattr(error, "failures", None)  # torch 2.13, CheckpointException: rank -> (exception, its stack)
    if type(error).__name__ == "CheckpointException" and isinstance(failures, dict) and failures:
        rank = min(failures)
        return f"{error_line(failures[rank][0])} (CheckpointException, {len(failures)} ranks, the first is {rank})"
    pieces = traceback.format_exception_only(type(error), error)
    text = pieces[-1] if isinstance(error, SyntaxError) else pieces[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # the message starts on the next line
        return " ".join(lines[:2])
    line = lines[0] if lines else type(error).__name__
    return f"{TORN}: {line}" if _TORN.search(line) else line


def _write_torchelastic(error: str, trace: str, now: float) -> None:
    """The error file that torchrun reads, unless the script's own @record has written it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and not os.path.exists(path):
        extra = {"py_callstack": trace, "timestamp": str(int(now))}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": error, "extraInfo": extra}}, file)


def read_records(directory: str, ranks: tuple[int, ...]) -> list[RankRecord]:
    """The records that exist so far."""
    found = (read_rank(record_path(directory, rank)) for rank in ranks)
    return [record for record in found if record is not None]
