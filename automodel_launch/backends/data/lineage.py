"""Which tokenizer made prepared data, and whether another one is the same: compared by files, not by names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from automodel_launch.backends.data import paths
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.config import dotted
from automodel_launch.plan.describe import override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


@dataclass(frozen=True)
class DataTokenizer:
    """The tokenizer that made some data, as data-prep has recorded it."""

    data: str  # for a message: the artifact or the blend
    name: str
    path: str
    sha256: str


def of_plan(plan: Plan, data: DataFacts) -> Iterator[DataTokenizer]:
    """The tokenizers that made a plan's data: from the artifacts it names, else from record.json beside the data."""
    for manifest in plan.artifacts.values():
        yield from _recorded(manifest, f"{manifest.get('name')}:{manifest.get('version')}")
    for path, record in () if plan.artifacts else data.records:
        yield from _recorded(record, path)


def check(plan: Plan, data: DataFacts, key: str, value: str, where: str) -> Iterator[Finding]:
    """A training uses the tokenizer that made its data: with another one the ids mean nothing, and no error says so.

    `value`: the directory or hub id that `key` has; `where`: the two, for a message.
    """
    for recorded in () if dotted.left_to_the_job(value) else of_plan(plan, data):
        verdict = compare(recorded, value, paths.tokenizer_file(plan, value), data)
        message = f"{where}: the data {recorded.data} were made with"
        own = override(plan, key, recorded.name)
        if verdict == "other":
            fix = f"{own}, or make the data again with tokenizer={value}"
            yield Finding("error", "other-tokenizer", f"{message} another, {recorded.name}.", fix)
        elif verdict == "unknown":
            message = f"{message} {recorded.name}; they cannot be compared from here."
            yield Finding("warning", "other-tokenizer", message, f"{own}, unless they are the same")


def compare(
    recorded: DataTokenizer, value: str, file: str | None, data: DataFacts
) -> Literal["same", "other", "unknown"]:
    """Whether `value` (a directory or a hub id), of which `file` is the tokenizer.json, made the data."""
    now = data.about("tokenizers", file) if file else {}
    if "sha256" not in now:
        folder = os.path.dirname(recorded.path)  # noqa: PTH120  # a remote path
        return "same" if value in (recorded.name, folder) else "unknown"
    then = data.about("tokenizers", recorded.path)
    if now["sha256"] == recorded.sha256:
        return "same"
    if then.get("sha256") != recorded.sha256:
        return "other"
    return "same" if now.get("rules") == then.get("rules") else "other"


def _recorded(record: Any, data: str) -> Iterator[DataTokenizer]:
    tokenizer = record.get("tokenizer") if isinstance(record, Mapping) else None
    if isinstance(tokenizer, dict) and all(isinstance(tokenizer.get(k), str) for k in ("name", "path", "sha256")):
        yield DataTokenizer(data, tokenizer["name"], tokenizer["path"], tokenizer["sha256"])
