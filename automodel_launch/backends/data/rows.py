"""Rows of JSONL files, as far as they are seen from here."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from automodel_launch.config import dotted
from automodel_launch.plan import mounts
from automodel_launch.plan.plan import Plan

JSONL = (".jsonl", ".ndjson")


def seen(plan: Plan, value: Any) -> Path | None:
    """Where a path that the job sees is on this machine; None of what is no path, or the container's own."""
    if not isinstance(value, str) or not value.startswith("/") or dotted.left_to_the_job(value):
        return None
    place = mounts.outside(value, plan.mounts) if plan.mounts else value
    return Path(place) if place else None


def count(plan: Plan, value: Any, most: int) -> int | None:
    """Lines of a file that are not blank, up to `most`; None of another file, or where it is not seen from here."""
    file = seen(plan, value) if plan.visible else None
    if file is None or file.suffix.lower() not in JSONL:
        return None
    try:
        with file.open("rb") as lines:
            return sum(1 for _ in islice((line for line in lines if line.strip()), most))
    except OSError:
        return None
