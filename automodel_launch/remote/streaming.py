"""A command on another machine whose output is passed on as it comes, to its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

from automodel_launch.errors import ClusterError
from automodel_launch.remote.framed import Frame
from automodel_launch.remote.shell import LocalShell, Shell
from automodel_launch.remote.ssh import SshShell

_POLL_S = 0.2


def run(shell: Shell, script: str, told_to_end: Callable[[], bool]) -> int:
    """Run a script with this process's standard output and error; its exit code.

    On this machine it has the standard input as well, a terminal too; over SSH what is piped in.

    Raises:
        ClusterError: the machine cannot be reached.
    """
    if isinstance(shell, LocalShell):
        process = subprocess.Popen(shell.command(script))
        return _ended(process, told_to_end)
    if not isinstance(shell, SshShell):
        raise TypeError(shell)
    shell.run("true")  # the connection, with what is wrong with it in words
    frame = Frame()
    command = shell.command(frame, mark_errors=False)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    threading.Thread(target=_give, args=(process.stdin, frame.input(script)), daemon=True).start()
    passing = threading.Thread(target=_pass_on, args=(process.stdout, frame), daemon=True)
    passing.start()
    code = _ended(process, told_to_end)
    passing.join()
    if code == 255:
        raise ClusterError(f"{shell.place}: the connection broke off, or the command has ended with 255.")
    return code


def _ended(process: subprocess.Popen[bytes], told_to_end: Callable[[], bool]) -> int:
    told = False
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_POLL_S)
            return code if code >= 0 else 128 - code
        if told_to_end() and not told:
            told = True
            process.terminate()


def _give(stdin: IO[bytes] | None, script: bytes) -> None:
    """The script, then what is piped into this process; a terminal is none of it."""
    if stdin is None:
        return
    with contextlib.suppress(OSError, ValueError), stdin:
        stdin.write(script)
        stdin.flush()
        if sys.stdin is not None and not sys.stdin.isatty():
            shutil.copyfileobj(sys.stdin.buffer, stdin)


def _pass_on(stdout: IO[bytes] | None, frame: Frame) -> None:
    """What stands between the frame's marks, as it comes; the last bytes are held back while they may be a mark."""
    held, begun, begin, end = b"", False, f"{frame.mark}-begin\n".encode(), f"\n{frame.mark}-end ".encode()
    out = sys.stdout.buffer
    while stdout is not None and (data := os.read(stdout.fileno(), 65536)):
        held += data
        if not begun:
            before, mark, after = held.partition(begin)
            begun, held = bool(mark), after if mark else before[-len(begin) :]
        if begun:
            at = held.find(end)
            ready = held[:at] if at >= 0 else held[: max(0, len(held) - len(end))]
            held = held[len(ready) :]
            if ready:
                out.write(ready)
                out.flush()
