"""Who submits a job: the process, so that another one can tell whether it is still at it."""

from __future__ import annotations

import functools
import os
import shlex
import socket
import time
from typing import Any

from automodel_launch import contract, workspace
from automodel_launch.jobs.records import Record
from automodel_launch.remote import processes

MOST_S = 3.0  # of most submissions
LONGEST_S = 600.0
"""The longest that a submission takes, with every wait; but for Docker's pulling of an image, which is on this host."""


def this() -> dict[str, Any]:
    """This process. Two laptops may have one host name, and two containers one kernel."""
    pid = os.getpid()
    known = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "start": processes.start_time(pid)}
    return {**known, "since": time.time(), "records": str(workspace.own_records())}


def follows(job_id: str, who: dict[str, Any] | None) -> str:
    """How a person follows a job; one of another checkout is known there alone."""
    records = (who or {}).get("records")
    command = f"python launch.py attach {job_id}"
    if not isinstance(records, str) or records == str(workspace.own_records()):
        return f"{command} follows it"
    checkout = workspace.checkout_of(records)
    if is_here(who or {}) and not os.access(records, os.W_OK):
        return f"who has launched it, in {checkout}, can follow it"
    return f"`cd {shlex.quote(checkout)}; {command}` follows it, where it was launched"


def gone(who: dict[str, Any] | None) -> dict[str, Any]:
    """A process that goes on, but no longer submits: what became of the job is not known."""
    return {**(who or {}), "gone": True}


def is_here(who: dict[str, Any]) -> bool:
    """Whether that process is one of this machine's."""
    if who.get("machine", _machine()) != _machine():
        return False
    return who.get("host") == socket.gethostname() or bool(who.get("machine"))  # whose name may be another one by now


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
    return isinstance(since, (int, float)) and abs(time.time() - since) < limit_s  # a clock may have been put back


@functools.cache
def _machine() -> str:
    """This kernel's start, and the namespace in which pids count; without /proc, the start of the first process."""
    return contract.this_machine() or str(processes.start_time(1) or "")
