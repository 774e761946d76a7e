"""Why nodes are gone that have left no end: the last lines of their ranks' logs, and of what Slurm has said of them.

The agents are dead there, so whoever writes exit.json looks: at the end of every such log, some of them at once, and
keeps the one line that tells most. A job of thousands of ranks costs one open and 64 KiB a rank, and the memory of a
few of them.
"""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import Callable, Iterable, Iterator, NamedTuple

import contract

from . import evidence, known
from .error_line import kept
from .evidence import Evidence
from .log import tail
from .records import Failure, NodeRecord, RankRecord

AT_ONCE = 16  # a network file system answers each open in milliseconds, many of them at the same time
_SLURMS = r"(?:log-.*_{id}_\d+|sbatch_.*_{id})\.out"  # as NeMo-Run names them; {id} is the Slurm job

_SLURM_OOM = "slurm-oom"  # of known/memory.py


class Log(NamedTuple):
    """A rank's log, and where this attempt's part of it begins."""

    path: str
    start: int
    node: int
    rank: int


class Lost(NamedTuple):
    """What was found, and in which log."""

    log: Log
    found: Evidence


def add(job_dir: str, nodes: list[NodeRecord], slurm_id: str, is_step: Callable[[str], bool]) -> None:
    """Put what was found into the record of its node, as if its agent had lived to write it."""
    gone = [node for node in nodes if node.state != contract.NODE_ENDED]
    lost = look(_rank_logs(job_dir, gone), is_step)
    if lost is not None:
        node = next(node for node in gone if node.node == lost.log.node)
        others = [record for record in node.records if record.rank != lost.log.rank]
        node.records = [*others, _record(node, lost)]
        return
    memory = _slurms_word(os.path.join(job_dir, contract.LOGS), slurm_id) if gone else None
    if memory is not None and gone[0].failure is None:
        gone[0].failure = Failure(1, kept(memory), gone[0].time)


def look(logs: Iterable[Log], is_step: Callable[[str], bool]) -> Lost | None:
    """The line that tells most of all logs; what only says that another rank is gone tells nothing here."""
    best: Lost | None = None
    rest = iter(logs)
    from concurrent.futures import ThreadPoolExecutor  # for an end that tells nothing: no other job needs it

    with ThreadPoolExecutor(AT_ONCE) as pool:
        while chunk := list(islice(rest, AT_ONCE * 4)):  # map() takes all that it is given at once
            for log, lines in zip(chunk, pool.map(lambda log: tail(log.path, log.start), chunk)):
                found = evidence.in_lines(lines, is_step)
                if found is None or found.signature.level == 0:
                    continue
                if best is None or found.signature.level > best.found.signature.level:
                    best = Lost(log, found)
    return best


def _rank_logs(job_dir: str, gone: list[NodeRecord]) -> Iterator[Log]:
    for node in gone:
        for rank, start in node.log_starts.items():
            yield Log(os.path.join(job_dir, contract.rank_log(int(rank))), start, node.node, int(rank))


def _slurms_word(folder: str, slurm_id: str) -> str | None:
    """That memory was used up: of all that Slurm says when it ends a step, the one thing that is a cause."""
    pattern = re.compile(_SLURMS.replace("{id}", slurm_id))
    for name in sorted(os.listdir(folder)) if slurm_id.isdigit() and os.path.isdir(folder) else []:
        for line in tail(os.path.join(folder, name)) if pattern.fullmatch(name) else []:
            signature = known.of_line(line)
            if signature is not None and signature.id == _SLURM_OOM:
                return line
    return None


def _record(node: NodeRecord, lost: Lost) -> RankRecord:
    try:
        last = os.stat(lost.log.path).st_mtime
    except OSError:
        last = node.time
    return RankRecord(
        rank=lost.log.rank,
        local_rank=0,
        host=node.host,
        pid=0,
        pid_start=None,
        worker=0,
        worker_start=None,
        started=node.started,
        ended=last,
        failed=last,
        code=1,
        error=kept(lost.found.line),
        known=lost.found.signature.id,
    )
