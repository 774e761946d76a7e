"""What the kernel says of the end of processes: it killed one for memory, or a GPU has failed (Xid).

/dev/kmsg, where the user may read it (kernel.dmesg_restrict = 0, or root). The kernel's log is the whole machine's: a
killed process counts where its number is one of ours or its cgroup is; a GPU's error where it names such a process,
or where every GPU of the node is the job's.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Iterable, Iterator, NamedTuple

from . import known
from .error_line import kept
from .evidence import Evidence
from .patterns import pattern
from .records import NodeRecord, RankRecord

_KMSG = "/dev/kmsg"
_RECORD = pattern(r"(\d+),(\d+),(\d+),[^;]*;(.*)")
_MOST_BYTES = 4 << 20  # of a ring that is 1 MiB or so
_PID = pattern(r"(?:\bpid=|Killed process |task=\S+,pid=)'?(\d+)")
_MEMCG = pattern(r"task_memcg=([^,\s]+)")
_RECENT_S = 3600.0  # collectives that wait for a GPU that has failed are given up within it


_INIT_NAMESPACE = "pid:[4026531836]"  # of the machine itself (Linux, PROC_PID_INIT_INO): numbers are the kernel's there


class Own(NamedTuple):
    """What is the job's on this node."""

    pids: frozenset[int]
    cgroup: str | None  # of the agent: everything below it is the job's
    all_gpus: bool


def add(node: NodeRecord, path: str = _KMSG) -> None:
    """Put the kernel's words into the records of the ranks that have failed, where they tell more than their own."""
    failed = [record for record in node.records if record.code]
    if not failed:
        return
    own = _own(node)
    since = time.monotonic() - max(0.0, time.time() - node.started)
    for pid, found in tell(own, since, path):
        named = [record for record in failed if record.pid == pid]
        record = (named or sorted(failed, key=_began))[0]
        now = known.get(record.known) or known.of_error(record.error)
        if now is None and not named and found.signature.level < 3:
            continue  # the rank says what it was, and the kernel does not name it
        if now is None or found.signature.level > now.level:
            record.known = found.signature.id
            record.evidence = kept(found.line)


def _began(record: RankRecord) -> tuple[bool, float]:
    return record.told_to_end is not None, record.failed or record.ended or 0.0


def _own(node: NodeRecord) -> Own:
    try:
        machines = os.readlink("/proc/self/ns/pid") == _INIT_NAMESPACE
    except OSError:
        machines = False
    pids = frozenset(record.pid for record in node.records) if machines else frozenset()
    return Own(pids, own_cgroup(), 0 < gpus_of_node() <= len(node.records))


def tell(own: Own, since: float, path: str = _KMSG) -> Iterator[tuple[int | None, Evidence]]:
    """Known errors since that moment of the monotonic clock, with the process that they name where it is ours."""
    since = max(since, time.monotonic() - _RECENT_S)
    killed_by_cgroup = False
    for line in _lines(path):
        record = _RECORD.match(line)
        if record is None or int(record.group(3)) / 1e6 < since:
            continue
        message = record.group(4)
        signature = known.of_line(message)
        if signature is None:
            continue
        found = _PID.search(message)
        pid = int(found.group(1)) if found else None
        of_ours = pid in own.pids
        if message.startswith("oom-kill:"):
            killed_by_cgroup = _is_below(message, own.cgroup)
            if not (killed_by_cgroup or of_ours):
                continue
        elif "Killed process" in message:
            if not (of_ours or killed_by_cgroup):
                continue
            killed_by_cgroup = False
        elif not (of_ours or own.all_gpus):
            continue
        yield (pid if of_ours else None), Evidence(signature, message.strip())


def own_cgroup(path: str = "/proc/self/cgroup") -> str | None:
    """This process's cgroup, None where it is the machine's or nothing is known of it."""
    return next((name for name in reversed(cgroups(path)) if name and name.strip("/")), None)


def cgroups(path: str) -> tuple[str | None, str | None]:
    """The memory cgroups that such a file names, of version 1 and of version 2; in a container `/` may be its own."""
    of_1 = of_2 = None
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            number, controllers, name = [*line.rstrip("\n").split(":", 2), "", ""][:3]
            if number == "0":
                of_2 = name
            elif "memory" in controllers.split(","):
                of_1 = name
    return of_1, of_2


def gpus_of_node(directory: str = "/dev") -> int:
    """How many GPUs this node, or its container, shows."""
    with contextlib.suppress(OSError):
        return sum(re.fullmatch(r"nvidia\d+", name) is not None for name in os.listdir(directory))
    return 0


def _is_below(message: str, cgroup: str | None) -> bool:
    found = _MEMCG.search(message)
    return bool(found and cgroup and (found.group(1) + "/").startswith(cgroup.rstrip("/") + "/"))


def _lines(path: str) -> Iterable[str]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        total = 0
        while total < _MOST_BYTES:
            try:
                data = os.read(fd, 8192 if path == _KMSG else _MOST_BYTES)  # a read of /dev/kmsg is one record
            except BrokenPipeError:  # records were overwritten meanwhile: the next read goes on behind them
                continue
            except OSError:  # nothing more for now
                return
            if not data:
                return
            total += len(data)
            yield from data.decode("utf-8", "replace").splitlines()
    finally:
        os.close(fd)
