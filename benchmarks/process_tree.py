"""Time and memory of a command with all its processes (Linux)."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: who is left behind becomes a child of this process
_PERIOD_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """`peak_bytes`: the largest sum of resident memory seen; pages that processes share count for each of them."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure(command: list[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command that must succeed; its output goes to stderr."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr, env={**os.environ, **(environment or {})})
    peak = _Peak(process.pid)
    code = process.wait()
    wall = time.perf_counter() - began
    with suppress(ChildProcessError):  # those that it has left behind count too, when they end
        while True:
            os.wait()
    peak.stop()
    if code:
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, peak.bytes)


class _Peak:
    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_PERIOD_S):
            self.bytes = max(self.bytes, _resident(self._pid))


def _resident(pid: int) -> int:
    """Bytes of a process and all below it; what ends meanwhile counts as nothing."""
    total = 0
    with suppress(OSError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _resident(int(child))
    return total
