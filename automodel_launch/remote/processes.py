"""Processes of this machine: is one still the one that was meant?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from automodel_launch import contract

_PATIENCE_S = 10.0  # for the kernel to let go of what was killed


def has_proc() -> bool:
    """Whether the kernel shows processes as files."""
    return Path("/proc/self/stat").exists()


def start_time(pid: int) -> int | str | None:
    """When a process started, in a form that only fits for comparing; None where there is no such process.

    Clock ticks since boot (proc(5), field 22), or what `ps` says where there is no /proc (macOS).
    """
    if not has_proc():
        environ = {**os.environ, **contract.PS_ENVIRON}
        command = [*contract.PS_START, str(pid)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        return contract.start_that_ps_tells(done.stdout)
    fields = _stat(pid)
    return None if not fields or fields[0] == "Z" else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped it (SIGSTOP, Ctrl-Z, a debugger); False where there is no /proc."""
    return _stat(pid)[:1] in (["T"], ["t"])


def kill_with_all_below(pid: int) -> None:
    """SIGKILL to a process that does not end by itself, and first to everything below it, which nobody finds later.

    Where there is no /proc, to that process alone.
    """
    end = time.monotonic() + _PATIENCE_S
    while (below := _descendants(pid)) and time.monotonic() < end:
        for child in below:
            _kill(child)
        time.sleep(0.05)
    _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _descendants(root: int) -> list[int]:
    """Every living process below `root`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.pop(queue.pop(), [])
        found += below
        queue += below
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, ...; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_same(pid: int, start: object) -> bool:
    """Whether a process runs that has this pid and started then: pids are used again."""
    if start is None:
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return False
        return True
    return start_time(pid) == start
