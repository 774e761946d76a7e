"""Processes of this machine: is one still the one that was meant?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from automodel_launch import contract


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
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def is_same(pid: int, start: object) -> bool:
    """Whether a process runs that has this pid and started then: pids are used again."""
    if start is None:
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return False
        return True
    return start_time(pid) == start
