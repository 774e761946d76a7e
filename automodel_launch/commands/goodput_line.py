"""What `status` says of where a run's GPU time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.commands import console
from automodel_launch.errors import ClusterError
from automodel_launch.jobs.records import Record, Status
from automodel_launch.report import goodput, joining, reading

MOST = 16 * 2**20  # bytes of metrics.jsonl that a status reads: about 80,000 steps
_WORDS = {
    "lost_steps": "lost steps",
    "startup": "start-up",
    "validation": "validation",
    "saving": "saving",
    "idle": "idle",
    "spare": "spare nodes",
    "outside": "outside the attempts",
}


def look(record: Record) -> goodput.Goodput | None:
    """Where its time went; None where that cannot be read now, or would take long."""
    place = executors.get(record.executor).place_of(record)
    try:
        if reading.size(record, place) > MOST:
            return None
        files = reading.read(record, place)
    except ClusterError:
        return None
    return goodput.of(files, joining.join(files), time.time())


def document(record: Record) -> dict[str, Any]:
    """The same as JSON data, with the phases of the last attempt's start in seconds."""
    found = look(record)
    attempts = found.attempts if found else []
    return {
        "goodput": found.document() if found else None,
        "startup_s": attempts[-1].startup_s if attempts else {},
    }


def lines(record: Record, now: Status) -> Iterator[str]:
    """Of its run where the time went; of a training that has not come to a step in its last attempt, where that one's
    start went.
    """
    found = look(record)
    if found is None:
        return
    last = found.attempts[-1] if found.attempts else None
    own = last is not None and last.attempt.job_id == record.job_id and not last.attempt.rows
    if last is not None and own and now.state != contract.COMPLETED:
        spent = [f"{phase} {console.duration(seconds)}" for phase, seconds in last.startup_s.items() if seconds >= 0.5]
        yield from (f"  its start: {', '.join(spent)}",) if spent else ()
    yield from filter(None, (_line(found),))


def _line(found: goodput.Goodput) -> str | None:
    """`  goodput: 74% of 0.58 GPU-hours; start-up 14%, lost steps 6%, validation 3%`"""
    if found.share is None:
        return None
    total = found.hours()
    parts = sorted(((found.hours(part) / total, word) for part, word in _WORDS.items()), reverse=True)
    rest = ", ".join(f"{word} {share:.0%}" for share, word in parts if share >= 0.005)
    return f"  goodput: {found.share:.0%} of {total:.3g} {found.unit}-hours" + (f"; {rest}" if rest else "")
