"""Which tokenizer made prepared data, and whether another one is the same: compared by files, not by names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from automodel_launch import automodel
from automodel_launch.plan import Plan

# Set by some programs when they save, and no part of what a text becomes.
_NO_MATTER = ("truncation", "padding")


@dataclass(frozen=True)
class Made:
    """The tokenizer behind some data: what data preparation has recorded of it."""

    data: str  # for a message: the artifact or the blend
    name: str
    path: str
    sha256: str


def of_plan(plan: Plan) -> Iterator[Made]:
    """The tokenizers behind a plan's data: from the artifacts it names, else from record.json beside its blends."""
    for manifest in plan.artifacts.values():
        yield from _made(manifest, f"{manifest.get('name')}:{manifest.get('version')}")
    if plan.artifacts or not plan.visible:
        return
    for path in dict.fromkeys(str(value) for _, value in automodel.data_paths(plan.config)):
        if path.startswith("/") and path.endswith(".json"):
            folder = Path(path).resolve().parent  # of the output itself: the blend's name may be a link to it
            yield from _made(_json(folder / "record.json"), path)


def same(made: Made, value: str, visible: bool) -> Literal["same", "other", "unknown"]:
    """Whether `value` (a directory or a hub id) is the tokenizer that made the data."""
    named = value in (made.name, os.path.dirname(made.path))  # noqa: PTH120 (may be a path of another machine)
    if named and not (visible and Path(value).is_dir()):
        return "same"
    file = _file(value) if visible else None
    if file is None:
        return "unknown"
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() == made.sha256:
        return "same"
    recorded = Path(made.path)
    if not recorded.is_file() or hashlib.sha256(recorded.read_bytes()).hexdigest() != made.sha256:
        return "other"
    return "same" if _rules(content) == _rules(recorded.read_bytes()) else "other"


def _made(record: Any, data: str) -> Iterator[Made]:
    tokenizer = record.get("tokenizer") if isinstance(record, dict) else None
    if isinstance(tokenizer, dict) and all(isinstance(tokenizer.get(k), str) for k in ("name", "path", "sha256")):
        yield Made(data, tokenizer["name"], tokenizer["path"], tokenizer["sha256"])


def _file(value: str) -> Path | None:
    """tokenizer.json of a directory, or of a hub id that is in this machine's cache."""
    if Path(value).is_dir():
        file = Path(value) / "tokenizer.json"
        return file if file.is_file() else None
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    model = hub / f"models--{value.replace('/', '--')}"  # huggingface_hub's layout of the cache
    try:
        commit = (model / "refs" / "main").read_text().strip()
    except OSError:
        return None
    file = model / "snapshots" / commit / "tokenizer.json"
    return file if file.is_file() else None


def _rules(content: bytes) -> Any:
    """What a tokenizer.json says, without its form."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    return {k: v for k, v in value.items() if k not in _NO_MATTER} if isinstance(value, dict) else content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
