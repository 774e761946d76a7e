"""The end of one node: nothing of it is left running, and its record is final; the last node writes exit.json."""

from __future__ import annotations

import os
import time

import contract

from . import chain, disk_reserve, files, kernel_log, messages, oom_kills, records, verdict
from .control import Control
from .finish import finished_since, judged, put, remove_secrets, under_slurm
from .journal import Journal
from .peers import Peers
from .records import Failure, NodeRecord
from .spec import Spec
from .training import Training, kill_rest

_POLITE_S = 3.0
_RECORD_PATIENCE_S = 30.0


def fail(
    journal: Journal, code: int, error: str, trace: str | None = None, victim: bool = False, at: float | None = None
) -> None:
    """Note why the node cannot go on."""
    journal.record.failure = Failure(code, error, at or time.time(), trace, victim)


def close(journal: Journal, control: Control, training: Training | None) -> None:
    """End every process that is left, and take in what the ranks have written; the record is final then."""
    record = journal.record
    killing = control.force or (training is not None and training.killed is not None)
    left = kill_rest(os.getpid(), control.loop.reap, 0.0 if killing else _POLITE_S)
    if left:
        journal.log.say(f"{left} processes could not be killed")
    if training is not None:
        training.refresh()
        record.records = [training.records[rank] for rank in sorted(training.records)]
        if record.stop is None:
            kernel_log.add(record)
            oom_kills.add(record, oom_kills.count())
    journal.poll_metrics(to_end=True)
    journal.log.take(to_end=True)
    failed = verdict.failed_first([record]) and record.stop is None
    if failed:
        control.note_failure()
    record.state, record.ranks = contract.NODE_ENDED, {}
    finished = record.stop is not None and finished_since(journal.job_dir, _with_first(journal.job_dir, record))
    record.code = int(verdict.judge([record], None, finished=finished)["code"])
    if failed:
        control.peers.tell()


def _with_first(job_dir: str, record: NodeRecord) -> list[NodeRecord]:
    """With node 0's record of the same attempt, which tells how far the run was when that began."""
    first = None if record.node == 0 else records.read_node(job_dir, 0)
    return [record] if first is None or first.attempt != record.attempt else [first, record]


def remove_order_secrets(spec: Spec, journal: Journal) -> None:
    """Under Slurm the job may be requeued; `finish`, which knows how all nodes have ended, removes the file there."""
    if spec.secrets_file is not None and journal.record.node == 0 and not under_slurm():
        remove_secrets([spec.secrets_file], journal.log.say)


def report(spec: Spec, journal: Journal, peers: Peers) -> int:
    """Write the record, and exit.json where every other node has ended; returns the exit code."""
    log = journal.log
    files.when_full(lambda: disk_reserve.release(spec.job_dir))
    journal.save(_RECORD_PATIENCE_S)
    code = journal.record.code or 0
    found = records.read_nodes(spec.job_dir) if peers.have_all_ended() else []
    if not verdict.complete(found, spec.nnodes):
        log.say(f"ended with code {code}; other nodes have not")
        return code
    result = judged(spec.job_dir, found, spec.nnodes)
    if not under_slurm():  # `finish` does it there; first, since who is killed now has told its end (JobDir.status)
        chain.note_end(spec.job_dir, found, result, log.say)
    try:
        result = put(spec.job_dir, result)
    except OSError as error:
        log.say(f"{contract.EXIT}: {error}")
        return code
    if not under_slurm():
        disk_reserve.release(spec.job_dir)
    log.say(messages.job_end(result))
    return int(result["code"])
