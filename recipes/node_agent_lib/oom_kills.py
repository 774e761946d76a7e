"""Has the kernel killed a rank, for memory? Its cgroup counts such kills, also where the kernel's log is not readable.

The counter is of every such kill of a process of that cgroup, at its own limit or because the machine's memory was full
(Linux 4.13 and later; before, and where no memory cgroup can be seen, nothing is known).
"""

from __future__ import annotations

import contextlib
import re

from . import kernel_log, known
from .records import NodeRecord, RankRecord

_ROOT = "/sys/fs/cgroup"
_OPEN = ("killed", "worker-killed")  # of known/memory.py: they leave open who has killed
_SIGKILL = "SIGKILL"


def count(root: str = _ROOT, own: str = "/proc/self/cgroup") -> int | None:
    """So many processes of this process's cgroup, or below it, the kernel has killed for memory; None: not known."""
    version_1, version_2 = kernel_log.cgroups(own)
    for path in (
        f"{root}{version_2}/memory.events" if version_2 else None,
        f"{root}/memory{version_1}/memory.oom_control" if version_1 else None,
    ):
        with contextlib.suppress(OSError):
            if path is not None and (found := _counted(path)) is not None:
                return found
    return None


def _counted(path: str) -> int | None:
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r"^oom_kill (\d+)$", file.read(), re.M)
    return int(found.group(1)) if found else None


def add(node: NodeRecord, now: int | None) -> None:
    """Put it into the records of ranks of which only the end by SIGKILL, their own or a worker's, is known."""
    for record in node.records:
        is_open = record.known in _OPEN or (record.known is None and record.signal == _SIGKILL)
        if is_open and record.told_to_end is None and now is not None and node.oom_kills is not None:
            _add(record, now - node.oom_kills)


def _add(record: RankRecord, killed: int) -> None:
    if killed > 0:
        words = f"killed for memory: the kernel counts {killed} oom_kill in the cgroup since the job began on this node"
        record.known, record.evidence = "oom-kill", words
    elif record.signal == _SIGKILL:
        record.error = "killed by SIGKILL, and not by the kernel for memory"
        signature = known.of_error(record.error)
        record.known, record.evidence = signature.id if signature else None, None
