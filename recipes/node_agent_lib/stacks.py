"""Where is every rank of this node? Stack dumps of processes that hang, into logs/stack-<rank>.txt.

Two ways, and both are taken: py-spy, where it is installed and may read the processes, needs no help from the process;
faulthandler, which worker.py has registered for SIGUSR2, writes from inside. A stopped process answers no signal before
it is continued; so it gets SIGCONT, after its state was written down.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import Callable, Iterable, Mapping

import contract

from . import procs
from .records import RankRecord

_PY_SPY_S = 15.0
_ANSWER_S = 5.0
_POLL_S = 0.05
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in an uninterruptible wait (a file system or driver that does not answer)",
    "T": "stopped by a signal (SIGSTOP)",
    "t": "stopped by a debugger",
    "Z": "ended",
}


def find_py_spy(python: str, environ: Mapping[bytes, bytes]) -> str | None:
    """The py-spy that is installed beside the training's Python, or on its PATH."""
    beside = shutil.which("py-spy", path=os.path.dirname(python))
    return beside or shutil.which("py-spy", path=os.fsdecode(environ.get(b"PATH", b"")))


def dump(
    job_dir: str,
    ranks: Iterable[RankRecord],
    why: str,
    py_spy: str | None,
    reap: Callable[[], None],
    wake: bool = True,
) -> list[str]:
    """Write the stacks of these living ranks; returns what is remarkable about them, such as "rank 1 is stopped ...".

    `wake`: a process that was stopped is continued, so that it can answer; else it stays as it is.
    It takes seconds, at most about 20. `reap` collects ended children: nobody else may wait for them.
    """
    dumps = [_Dump(os.path.join(job_dir, contract.stack_file(record.rank)), record) for record in ranks]
    for item in dumps:
        item.begin(why)
    if py_spy is not None:
        for item in dumps:
            item.start_py_spy(py_spy)
        _wait(lambda: any(item.spied_on() for item in dumps), _PY_SPY_S, reap)
    for item in dumps:
        item.ask(wake)
    _wait(lambda: not all(item.answered() for item in dumps), _ANSWER_S, reap)
    for item in dumps:
        item.end()
    return [item.remarkable for item in dumps if item.remarkable]


def _wait(busy: Callable[[], bool], limit_s: float, reap: Callable[[], None]) -> None:
    deadline = time.monotonic() + limit_s
    while busy() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        reap()


class _Dump:
    """One rank's file. Nothing here raises: a full disk must not keep a hung job alive."""

    def __init__(self, path: str, record: RankRecord) -> None:
        self.remarkable: str | None = None
        self._path = path
        self._record = record
        self._py_spy: int | None = None
        self._asked_at = 0

    def begin(self, why: str) -> None:
        pid, found = self._record.pid, procs.stat(self._record.pid)
        state = _STATES.get(found.state, found.state) if found else "gone"
        if found is None or found.state in "DTtZ":
            self.remarkable = f"rank {self._record.rank} is {state}"
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._write(f"=== {stamp} {why}\nrank {self._record.rank} on {self._record.host}, pid {pid}: {state}")
        self._write(f"kernel function: {_read(f'/proc/{pid}/wchan') or 'not known'}")

    def start_py_spy(self, py_spy: str) -> None:
        self._write("\n--- py-spy")
        try:
            with open(self._path, "ab") as file:
                # --nonblocking: the process stands still anyway, and a stopped one would not let itself be paused
                command = [py_spy, "dump", "--nonblocking", "--pid", str(self._record.pid)]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        except OSError as error:
            self._write(f"{py_spy}: {error}")
            return
        process.returncode = 0  # the agent reaps its children itself
        self._py_spy = process.pid

    def spied_on(self) -> bool:
        """Whether py-spy is still at work."""
        return self._py_spy is not None and procs.alive(self._py_spy, None)

    def ask(self, wake: bool) -> None:
        """SIGUSR2 to the training process; it must be registered there, or the process would die of it."""
        if self.spied_on() and self._py_spy is not None:
            procs.send(self._py_spy, signal.SIGKILL)
        self._write("\n--- faulthandler")
        self._asked_at = self._size()
        found = procs.stat(self._record.pid)
        if not wake and found is not None and found.state in "Tt":
            self._write("it was stopped, and is left so: what it does not do itself, only py-spy can tell")
            return
        if procs.alive(self._record.pid, self._record.pid_start):
            procs.send(self._record.pid, signal.SIGUSR2)
            procs.send(self._record.pid, signal.SIGCONT)

    def answered(self) -> bool:
        """Whether the process has written its stacks; they come in one go."""
        return self._size() > self._asked_at or not procs.alive(self._record.pid, self._record.pid_start)

    def end(self) -> None:
        if self._size() <= self._asked_at:
            self._write(f"the process did not answer within {_ANSWER_S:.0f} s")

    def _size(self) -> int:
        try:
            return os.path.getsize(self._path)
        except OSError:
            return 0

    def _write(self, text: str) -> None:
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError:
            return


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("0\n ")
    except OSError:
        return ""
