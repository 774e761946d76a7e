"""Processes as the kernel shows them: alive or not, whose child, and what must die with whom.

Where /proc is missing (macOS), `ps` is asked. Where prctl is missing, the functions say so; callers then fall back on
process groups and on the pipe between agent and worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Callable, Iterator, NamedTuple, cast

import contract

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GONE = {"Z", "X", "x"}


class Stat(NamedTuple):
    """What is needed of /proc/PID/stat. `start` is in clock ticks since boot: with the pid it names one process."""

    state: str
    parent: int
    start: int


def _load_prctl() -> Callable[..., int] | None:  # loaded beforehand: dlopen is not safe between fork and exec
    try:
        return cast("Callable[..., int]", ctypes.CDLL(None, use_errno=True).prctl)
    except (OSError, AttributeError, TypeError):
        return None


_prctl = _load_prctl()


def adopt_orphans() -> bool:
    """Become the parent of every orphaned descendant, so that none can escape by a double fork."""
    return _prctl is not None and _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent(parent: int) -> None:
    """Call in a fresh child: SIGKILL for it when `parent` dies.

    The kernel watches the *thread* that forked; call it only in children of a process whose main thread forks.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`, which holds on behind exec."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def stat(pid: int) -> Stat | None:
    """The process's state, or None where there is no such process (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return Stat(fields[0], int(fields[1]), int(fields[19]))
    except (OSError, IndexError, ValueError):
        return None


def start_of(pid: int) -> int | None:
    """The start time that tells `pid` from a later process of that number."""
    found = stat(pid)
    return found.start if found else None


def identity_of(pid: int) -> int | str | None:
    """The same where there is no /proc, too: what another program may compare with. It costs a `ps` there."""
    return start_of(pid) if has_proc() else contract.start_that_ps_tells(_ps(*contract.PS_START, str(pid)))


def has_proc() -> bool:
    """Whether the kernel shows processes as files."""
    return os.path.exists("/proc/self/stat")


def alive(pid: int, start: int | str | None) -> bool:
    """Whether that very process still runs; a zombie does not, as far as that can be told."""
    if isinstance(start, str):
        return identity_of(pid) == start
    if has_proc():
        found = stat(pid)
        return found is not None and found.state not in _GONE and start in (None, found.start)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def descendants(root: int) -> list[int]:
    """Every living process below `root`, children before grandchildren.

    A killed process of many threads is a zombie while one of them is still on its way out, and has its children until
    then: what is below a zombie counts, too.
    """
    children: dict[int, list[tuple[int, bool]]] = {}
    for pid, parent, living in _processes() if has_proc() else _processes_by_ps():
        children.setdefault(parent, []).append((pid, living))
    result: list[int] = []
    seen: set[int] = {root}
    queue = [root]
    while queue:
        for pid, living in children.get(queue.pop(0), []):
            if pid not in seen:
                seen.add(pid)
                queue.append(pid)
                if living:
                    result.append(pid)
    return result


def _processes() -> Iterator[tuple[int, int, bool]]:
    """Every process, its parent, and whether it lives."""
    for name in os.listdir("/proc"):
        found = stat(int(name)) if name.isdigit() else None
        if found is not None:
            yield int(name), found.parent, found.state not in _GONE


def _processes_by_ps() -> Iterator[tuple[int, int, bool]]:
    for line in _ps("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "stat=").splitlines():
        pid, parent, state = line.split(maxsplit=2)
        yield int(pid), int(parent), state[0] not in _GONE and alive(int(pid), None)  # `ps` itself is gone by now


def _ps(*command: str) -> str:
    import subprocess  # where there is a /proc, no rank needs it

    environ = {**os.environ, **contract.PS_ENVIRON}
    try:
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return ""
    return done.stdout


def send(pid: int, signum: int, group: bool = False) -> None:
    """A signal to a process (or its group) that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, signum)


def exit_code(status: int) -> int:
    """A wait status, as a shell would have it."""
    return contract.SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def signal_name(signum: int) -> str:
    """`SIGTERM` for 15; a real-time signal keeps its number."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
