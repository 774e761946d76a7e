"""Facts about what a plan names: data, tokenizers, the model, directories to write. Collected once a plan.

On this machine by calling probe.py, on a cluster by sending it there in the round trip that other questions take too.
The answer has the same form.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.backends.automodel import datasets, references
from automodel_launch.backends.automodel.data import probe
from automodel_launch.backends.automodel.model import section, shape
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.backends.hub import cache
from automodel_launch.config import dotted
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import LATE, Result

HERE_S = 20.0  # a file system that does not answer ends the probe here, too
THERE_S = 6.0  # less than questions.EACH_S, so that the facts collected in time come back
MOST = 60_000  # characters of a request: it goes through command lines, of which one word may have 128 KiB
OBJECT_STORAGE = ("s3://", "msc://")  # indexed_dataset.py, _is_object_storage_path
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")

_ENDING = "print(json.dumps(answer(json.loads(sys.argv[1]))))\n"

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class DataFacts:
    """`answer` is that of probe.answer; a path that it says nothing about was not asked for, or the time was over."""

    answer: Mapping[str, Mapping[str, Facts]]
    config: Mapping[str, Any]  # of the training
    visible: bool

    def about(self, kind: str, path: str) -> Facts:
        """The facts about a path; `elsewhere` where it could not be reached."""
        return self.answer.get(kind, {}).get(path, {"elsewhere": True})

    @property
    def records(self) -> Iterator[tuple[str, Facts]]:
        """(blend or directory, what data-prep has recorded of it)."""
        return ((path, record) for path, record in self.answer.get("records", {}).items() if record)

    def shape(self) -> Shape | None:
        """The model's numbers, also from a config.json on the cluster."""
        model = section.read(self.config)
        loaded = self.about("folders", model.place).get("config") if model and model.place else None
        return shape.read(self.config, self.visible, loaded if isinstance(loaded, dict) else None)


def here(plan: Plan) -> DataFacts:
    """The facts on this machine."""
    return DataFacts(probe.answer(_request(plan, HERE_S)), plan.config, plan.visible)


def question(plan: Plan) -> str | None:
    """The same for bash on the cluster; None where there is nothing to ask about, or too much."""
    request = _request(plan, THERE_S)
    text = json.dumps(request, separators=(",", ":"))
    if not any(request[kind] for kind in _ASKED) or len(text) > MOST:
        return None
    return f"python3 -c {shlex.quote(Path(probe.__file__).read_text() + _ENDING)} {shlex.quote(text)}"


def too_much(plan: Plan) -> bool:
    """The config names more than one question can hold."""
    return len(json.dumps(_request(plan, THERE_S))) > MOST


def read(plan: Plan, answer: Result) -> DataFacts | str:
    """The answer to `question`, or why there is none."""
    try:
        return DataFacts(json.loads(answer.text.rpartition("\n")[2]), plan.config, False)
    except ValueError:
        pass
    if answer.code == LATE:
        return answer.brief
    return "the login node has no python3 on its PATH" if answer.code == 127 else answer.brief


_ASKED = ("blends", "globs", "pairs", "shards", "folders", "writable")


def _request(plan: Plan, seconds: float) -> dict[str, Any]:
    """What probe.answer is asked for."""
    tokenizers = (tokenizer_file(plan, value) for _, value in datasets.data_tokenizers(plan.config))
    request: dict[str, Any] = {
        "mounts": [[mount.target, mount.source] for mount in plan.mounts],
        "seconds": seconds,
        "blends": [],
        "globs": [],
        "pairs": [],
        "shards": [],
        "bos": datasets.aligns(plan.config),
        "folders": [path for _, path in folders(plan)],
        "wanted": ["config.json", *TOKENIZER_FILES],
        "writable": [path for _, path in references.outputs(plan.config)],
        "tokenizers": [path for path in tokenizers if path],
        "recorded": [manifest.get("tokenizer") for manifest in plan.artifacts.values()],
    }
    for key, value in datasets.data_paths(plan.config):
        if dotted.left_to_the_job(value) or not value:
            continue
        if key.endswith("file_pattern"):
            request["shards"] += [str(one) for one in (value if isinstance(value, list) else [value]) if _absolute(one)]
        elif kind_of_paths(value) == "pairs":
            request["pairs"] += probe.prefixes(value)
        elif _absolute(value):
            request[kind_of_paths(value)].append(value)
    for kind in _ASKED:
        request[kind] = list(dict.fromkeys(request[kind]))
    return request


def kind_of_paths(value: Any) -> str:
    """How Megatron's `paths` is read: a blend in a file, a pattern, or prefixes (megatron_dataset.py)."""
    if isinstance(value, str) and value.lower().endswith(".json"):
        return "blends"
    return "globs" if isinstance(value, str) and any(mark in value for mark in "*?[") else "pairs"


def _absolute(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def folders(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, path) of the directories of tokenizers and of the model; what is no path is a hub id."""
    for reference in references.references(plan.config):
        if reference.kind in ("tokenizer", "model") and not dotted.left_to_the_job(reference.value):
            if cache.is_path(reference.value, plan.visible):
                yield reference.key, reference.value


def tokenizer_file(plan: Plan, value: str) -> str | None:
    """tokenizer.json of a directory, or of a hub id in this machine's cache."""
    if dotted.left_to_the_job(value):
        return None
    if value.startswith("/"):
        return f"{value.rstrip('/')}/tokenizer.json"
    cached = cache.cached(value, "tokenizer.json") if plan.visible else None
    return str(cached) if cached else None


def outside(plan: Plan, path: str) -> str:
    """Where a path of the job's container is outside it, for a message; empty where it is the same."""
    seen = plan.mounts
    place = mounts_.outside(path, seen) if seen else None
    return f" ({place} outside the container)" if place and place != path else ""
