"""Tasks of arrays that have not begun: 200 of them are one line of squeue's, and one question."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from automodel_launch import contract
from automodel_launch.errors import ClusterError
from automodel_launch.executors.slurm import silent, waiting
from automodel_launch.jobs.records import Record, Status
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import PLAIN
from automodel_launch.remote.slurm_query import CONTROLLER, Task

_LINE = re.compile(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]\|([^|]*)\|(.*)")
_TIMED_OUT = 124  # of timeout(1)
MOST = 10_000  # tasks; what is more is asked for one by one


def look(shell: Shell, records: Sequence[Record]) -> dict[str, Status]:
    """Those that wait, by job id; empty where Slurm does not answer.

    A task that was requeued has a line of its own, without brackets: it has begun before, and is left out.
    """
    tasks = {}
    for record in records:
        task, slurm_id = Task.of(record.handle), str(record.handle.get("slurm_id"))
        if task and record.launcher is None:
            tasks[slurm_id, f"{task.directory}/{contract.SCRIPT}"] = record.job_id
    arrays = sorted({slurm_id.partition("_")[0] for slurm_id, _ in tasks})
    if not arrays or silent.now(shell):
        return {}
    listed = f"SLURM_BITSTR_LEN=0 timeout 10 squeue -h -t PENDING -j {shlex.quote(','.join(arrays))} -o '%i|%r|%o'"
    try:
        done = shell.run(f"{PLAIN}{listed}")
    except ClusterError:
        return {}
    if done.code == _TIMED_OUT or "Unable to contact" in done.err:
        silent.note(shell, CONTROLLER)
    found = {}
    for line in done.out.splitlines():
        match = _LINE.fullmatch(line)
        for number in _numbers(match[2]) if match else ():
            job_id = tasks.get((f"{match[1]}_{number}", match[4])) if match else None
            if match and job_id:
                words, advice = waiting.meaning(match[3], match[1])
                reason = f"{match[3]} ({words})" if words else match[3]
                found[job_id] = Status(contract.PENDING, reason=reason, advice=advice)
    return found


def _numbers(text: str) -> Iterator[int]:
    """`1,4-6,10-20:5` -> 1, 4, 5, 6, 10, 15, 20"""
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match:
            first, last = int(match[1]), min(int(match[2] or match[1]), int(match[1]) + MOST)
            yield from range(first, last + 1, int(match[3] or 1) or 1)
