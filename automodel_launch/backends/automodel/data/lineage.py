"""Which tokenizer made prepared data, and whether another one is the same: compared by files, not by names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from automodel_launch.backends.automodel.data.facts import Found
from automodel_launch.plan.plan import Plan


@dataclass(frozen=True)
class Made:
    """The tokenizer behind some data: what data preparation has recorded of it."""

    data: str  # for a message: the artifact or the blend
    name: str
    path: str
    sha256: str


def of_plan(plan: Plan, found: Found) -> Iterator[Made]:
    """The tokenizers behind a plan's data: from the artifacts it names, else from record.json beside the data."""
    for manifest in plan.artifacts.values():
        yield from _made(manifest, f"{manifest.get('name')}:{manifest.get('version')}")
    for path, record in () if plan.artifacts else found.records:
        yield from _made(record, path)


def same(made: Made, value: str, file: str | None, found: Found) -> Literal["same", "other", "unknown"]:
    """Whether `value` (a directory or a hub id), of which `file` is the tokenizer.json, made the data."""
    facts = found.facts("tokenizers", file) if file else {}
    if "sha256" not in facts:
        return "same" if value in (made.name, os.path.dirname(made.path)) else "unknown"  # noqa: PTH120  # a remote path
    recorded = found.facts("tokenizers", made.path)
    if facts["sha256"] == made.sha256:
        return "same"
    if recorded.get("sha256") != made.sha256:
        return "other"
    return "same" if facts.get("rules") == recorded.get("rules") else "other"


def _made(record: Any, data: str) -> Iterator[Made]:
    tokenizer = record.get("tokenizer") if isinstance(record, Mapping) else None
    if isinstance(tokenizer, dict) and all(isinstance(tokenizer.get(k), str) for k in ("name", "path", "sha256")):
        yield Made(data, tokenizer["name"], tokenizer["path"], tokenizer["sha256"])
