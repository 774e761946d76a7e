"""Start a rehearsal where the job's Python is, and have it end, whatever becomes of the launcher or the connection."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from automodel_launch.errors import ClusterError
from automodel_launch.executors.job_python import JobPython
from automodel_launch.plan import packaging
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.secret_names import is_secret
from automodel_launch.rehearsal import result, stamp
from automodel_launch.rehearsal.result import Result
from automodel_launch.rehearsal.script import GRACE_S, LATE, NO_SCRATCH, REQUEST, Script
from automodel_launch.remote.filesystem import archive
from automodel_launch.remote.shell import LocalShell

# Behind the source of stamp.py, which is sent.
_TELL = "print('stamp ' + stamp(sys.stdin.buffer.read().decode('utf-8', 'surrogateescape').split('\\0')[:-1]))\n"
_ASK_S = 15.0  # for the stamp: a Python's start
_TRAVEL_S = 30.0  # for the connection and the files
_STOP_S = 15.0
_NOT_THERE = (126, 127)


class NotRun(Exception):
    """It could not be made, or has not answered; the message says why."""


class Late(NotRun):
    """It has not answered within its time."""


def stamp_of(python: JobPython, paths: list[str]) -> str | None:
    """What stands for the Python's packages and the files there; None where that cannot be told.

    Raises:
        NotRun: there is no such Python.
    """
    if not python.known:
        return None
    local = isinstance(python.shell, LocalShell)
    if local and python.start == shlex.quote(sys.executable):
        return stamp.stamp(paths)
    if python.identity is not None:
        done = python.shell.run(python.identity, timeout=_ASK_S)
        return f"{done.out.strip()} {stamp.stamp(paths) if local else ''}" if done.code == 0 else None
    source = Path(stamp.__file__).read_text(encoding="utf-8")
    names = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    done = python.shell.run(f"{python.start} -c {shlex.quote(source + _TELL)}", names, timeout=_ASK_S)
    if done.code in _NOT_THERE:
        raise NotRun("there is no such program")
    last = done.out.strip().rpartition("\n")[2]
    return last if last.startswith("stamp ") else None


def run(
    plan: Plan, program: Mapping[str, Path], main: str, script: Script, request: Mapping[str, Any], seconds: float
) -> Result:
    """Make the rehearsal; `program`: its own files, by their paths below the scratch directory.

    Raises:
        NotRun: there is no answer.
        ClusterError: the machine cannot be reached.
    """
    secrets = tuple(sorted({*plan.profile.secrets, *filter(is_secret, os.environ)}))
    with packaging.on_disk(plan.files) as travelling:
        files = archive({**travelling, **program}, {REQUEST: json.dumps(request)})
    bash = script.run(main, seconds, secrets)
    shell, limit = script.python.shell, seconds + script.python.waits_s + GRACE_S + _TRAVEL_S
    with _ended(script), _raised():
        code, out, err = shell.run_bytes(bash, files, timeout=limit)
    return _answer(code, out.decode(errors="replace"), err.decode(errors="replace"), seconds)


def _answer(code: int, out: str, err: str, seconds: float) -> Result:
    try:
        return result.read(out)
    except ValueError:
        pass
    said = " ".join(err.split())[-300:]
    if code == LATE:
        raise Late(f"it has not answered within {seconds:.0f} s")
    if code in _NOT_THERE:
        raise NotRun(f"its Python does not start: {said or 'no such program'}")
    if code == NO_SCRATCH:
        raise NotRun(f"its files could not be written: {said or 'no reason is given'}")
    raise NotRun(f"it ended with exit code {code}{': ' if said else ''}{said}")


@contextlib.contextmanager
def _ended(script: Script) -> Iterator[None]:
    """After Ctrl-C, a time-out or a broken connection: end what still runs there. Where that does not succeed either,
    the clock of the other side ends it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ClusterError, KeyboardInterrupt):
            script.python.shell.run(script.stop(), timeout=_STOP_S)
        raise


@contextlib.contextmanager
def _raised() -> Iterator[None]:
    """SIGTERM and SIGHUP as an exception, so that nothing is left running behind them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    old = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
