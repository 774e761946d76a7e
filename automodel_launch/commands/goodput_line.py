"""What `status` says of where a run's GPU time went."""

from __future__ import annotations

import time
from typing import Any

from automodel_launch import executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs.records import Record
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


def document(record: Record) -> dict[str, Any] | None:
    """The same as JSON data."""
    found = look(record)
    return found.document() if found else None


def line(record: Record) -> str | None:
    """`  goodput: 74% of 0.58 GPU-hours; start-up 14%, lost steps 6%, validation 3%`"""
    found = look(record)
    if found is None or found.share is None:
        return None
    total = found.hours()
    parts = sorted(((found.hours(part) / total, word) for part, word in _WORDS.items()), reverse=True)
    rest = ", ".join(f"{word} {share:.0%}" for share, word in parts if share >= 0.005)
    return f"  goodput: {found.share:.0%} of {total:.3g} {found.unit}-hours" + (f"; {rest}" if rest else "")
