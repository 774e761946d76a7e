"""Who submits a job: the process, so that another one can tell whether it is still at it."""

from __future__ import annotations

import functools
import os
import socket
import time
from pathlib import Path
from typing import Any

from automodel_launch.jobs.records import Record
from automodel_launch.remote import processes

MOST_S = 3.0  # of most submissions
LONGEST_S = 600.0
"""The longest that a submission takes, with every wait; but for Docker's pulling of an image, which is on this host."""


def this() -> dict[str, Any]:
    """This process. Two laptops may have one host name, and two containers one kernel."""
    pid = os.getpid()
    known = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "start": processes.start_time(pid)}
    return {**known, "since": time.time()}


def gone(who: dict[str, Any] | None) -> dict[str, Any]:
    """A process that goes on, but no longer submits: what became of the job is not known."""
    return {**(who or {}), "gone": True}


def is_here(who: dict[str, Any]) -> bool:
    """Whether that process is one of this machine's."""
    if who.get("machine", _machine()) != _machine():
        return False
    # without /proc, a laptop, whose host name may be another one in another network
    return who.get("host") == socket.gethostname() or bool(who.get("machine") and not processes.has_proc())


def is_at_it(record: Record) -> bool:
    """Whether the record's launcher is, as far as can be told, still submitting the job.

    Elsewhere that cannot be seen: for ten minutes it counts as being at it, unless the job is found (launch/state.py).
    """
    who = record.launcher or {}
    if not who or who.get("gone"):
        return False
    if not is_here(who):
        return is_young(record)
    pid = who.get("pid")
    return isinstance(pid, int) and processes.is_same(pid, who.get("start"))


def is_surely_at_it(record: Record) -> bool:
    """The same, but only where it is seen, and for as long as most submissions take: then nobody need be asked.

    After that it may be following the job, whose record it could not write.
    """
    return is_young(record, MOST_S) and is_here(record.launcher or {}) and is_at_it(record)


def is_young(record: Record, limit_s: float = LONGEST_S) -> bool:
    """Whether a submission could still be going on."""
    since = (record.launcher or {}).get("since", record.submitted)
    return isinstance(since, (int, float)) and time.time() - since < limit_s


@functools.cache
def _machine() -> str:
    """This kernel's start, and the namespace in which pids count; without /proc, the start of the first process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return str(processes.start_time(1) or "")
