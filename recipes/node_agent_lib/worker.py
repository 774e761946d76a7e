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
import os
import signal
import sys
import time

import contract

from . import backends, phases, procs, redaction
from .files import read_json
from .rank_files import ALIVE, CONTEXT, Context, error_path, restarts_forbidden
from .records import RankRecord
from .script_run import ScriptRun
from .watcher import RankLog, Watcher

_DEFAULTS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main(script: str, args: list[str]) -> int:
    """Run SCRIPT as this rank; contract: the environment holds LAUNCH_AGENT_DIR, RANK and LOCAL_RANK."""
    directory = os.environ.pop(contract.AGENT_DIR_VAR)
    redaction.arm_environment(os.environ)
    for name in ("PET_SIGNALS_TO_HANDLE", "TORCHELASTIC_SIGNALS_TO_HANDLE"):  # meant for the torchrun above us only
        os.environ.pop(name, None)
    if restarts_forbidden(directory):
        return 1
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    os.environ.pop(contract.PHASE_VAR, None)
    if local_rank == 0:
        os.environ[contract.PHASE_VAR] = phases.path(directory)
    context = Context(**(read_json(os.path.join(directory, CONTEXT)) or {}))
    log = _redirect(os.path.join(context.job_dir, contract.rank_log(rank)))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(error_path(directory, rank))  # of the rank's life before, under ft_launcher
    alive = os.open(os.path.join(directory, ALIVE), os.O_RDONLY | os.O_NONBLOCK)
    procs.adopt_orphans()
    procs.outlive_parent()  # the agent, where there is no launcher between: who else ends what the script has started?
    watcher = os.getpid()
    wake = _catch_signals()
    stacks = os.path.join(context.job_dir, contract.stack_file(rank))
    child = os.fork()
    if child == 0:
        _become_training(watcher, stacks)
        original = os.path.join(context.job_dir, contract.CODE)
        copied = (context.copy, original) if context.copy else None
        return ScriptRun(directory, rank, script, copied).run(args)
    record = RankRecord(
        rank, local_rank, context.host, child, procs.start_of(child), watcher, procs.start_of(watcher), time.time()
    )
    return Watcher(directory, record, log, alive, wake, stacks, backends.get(context.backend)).run()


def _redirect(path: str) -> RankLog:
    """Standard output and error into the rank's log."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    size = os.fstat(fd).st_size
    os.close(fd)
    return RankLog(path, size)


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
