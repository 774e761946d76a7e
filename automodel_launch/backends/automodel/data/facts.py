"""What lies at the places that a plan names: data, tokenizers, the model, directories to write. Looked at once a plan.

Here by calling look.py, on a cluster by sending it there with the other questions. The answer has the same form.
"""

from __future__ import annotations

from automodel_launch.config import dotted

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch import executors
from automodel_launch.backends.hub import cache
from automodel_launch.backends.automodel.data import probe
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.executors.containers import mounts
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import LATE, Answer

HERE_S = 20.0  # a dead file system ends the look here, too
THERE_S = 6.0  # less than questions.EACH_S, so that what was found in time comes back
MOST = 60_000  # characters of a request: it goes through command lines, of which one word may have 128 KiB
OBJECT_STORAGE = ("s3://", "msc://")  # indexed_dataset.py, _is_object_storage_path
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")

_ENDING = "print(json.dumps(look(json.loads(sys.argv[1]))))\n"

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """`answer` is look.look's; a path that it has no facts about was not asked for, or there was no time for it."""

    answer: Mapping[str, Mapping[str, Facts]]
    config: Mapping[str, Any]  # of the training
    visible: bool

    def facts(self, kind: str, path: str) -> Facts:
        """What was found out about a path, `elsewhere` where it could not be looked at."""
        return self.answer.get(kind, {}).get(path, {"elsewhere": True})

    @property
    def records(self) -> Iterator[tuple[str, Facts]]:
        """(blend or directory, what data-prep has recorded of it)."""
        return ((path, record) for path, record in self.answer.get("records", {}).items() if record)

    def shape(self) -> Shape | None:
        """The model's numbers, also from a config.json on the cluster."""
        section = automodel.model_section(self.config)
        loaded = self.facts("folders", section.place).get("config") if section and section.place else None
        return model_shape.read(self.config, self.visible, loaded if isinstance(loaded, dict) else None)


def here(plan: Plan) -> Found:
    """Look on this machine."""
    return Found(probe.look(_request(plan, HERE_S)), plan.config, plan.visible)


def question(plan: Plan) -> str | None:
    """The same for bash on the cluster; None where there is nothing to look at, or too much to ask for."""
    request = _request(plan, THERE_S)
    text = json.dumps(request, separators=(",", ":"))
    if not any(request[kind] for kind in _ASKED) or len(text) > MOST:
        return None
    return f"python3 -c {shlex.quote(Path(probe.__file__).read_text() + _ENDING)} {shlex.quote(text)}"


def too_much(plan: Plan) -> bool:
    """The config names more than can be asked for."""
    return len(json.dumps(_request(plan, THERE_S))) > MOST


def read(plan: Plan, answer: Answer) -> Found | str:
    """The answer to `question`, or why there is none."""
    try:
        return Found(json.loads(answer.text.rpartition("\n")[2]), plan.config, False)
    except ValueError:
        pass
    if answer.code == LATE:
        return answer.brief
    return "the login node has no python3 on its PATH" if answer.code == 127 else answer.brief


_ASKED = ("blends", "globs", "pairs", "shards", "folders", "writable")


def _request(plan: Plan, seconds: float) -> dict[str, Any]:
    """What look.look wants to know."""
    request: dict[str, Any] = {
        "mounts": [[mount.target, mount.source] for mount in executors.get(plan.executor).mounts(plan)],
        "seconds": seconds,
        "blends": [],
        "globs": [],
        "pairs": [],
        "shards": [],
        "bos": automodel.aligns(plan.config),
        "folders": [path for _, path in folders(plan)],
        "wanted": ["config.json", *TOKENIZER_FILES],
        "writable": [path for _, path in directories(plan)],
        "tokenizers": [path for _, value in automodel.data_tokenizers(plan.config) if (path := tokenizer(plan, value))],
        "made": [manifest.get("tokenizer") for manifest in plan.artifacts.values()],
    }
    for key, value in automodel.data_paths(plan.config):
        if dotted.left_to_the_job(value) or not value:
            continue
        if key.endswith("file_pattern"):
            request["shards"] += [str(one) for one in (value if isinstance(value, list) else [value]) if _absolute(one)]
        else:
            request[kind_of_paths(value)] += list(probe.prefixes(value)) if _pairs(value) else _known(value)
    for kind in _ASKED:
        request[kind] = list(dict.fromkeys(request[kind]))
    return request


def kind_of_paths(value: Any) -> str:
    """How Megatron's `paths` is read: a blend in a file, a pattern, or prefixes (megatron_dataset.py)."""
    if isinstance(value, str) and value.lower().endswith(".json"):
        return "blends"
    return "globs" if isinstance(value, str) and any(mark in value for mark in "*?[") else "pairs"


def _pairs(value: Any) -> bool:
    return kind_of_paths(value) == "pairs"


def _known(value: Any) -> list[str]:
    return [value] if _absolute(value) else []


def _absolute(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def folders(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, path) of the directories of tokenizers and of the model; what is no path is a hub id."""
    place = automodel.model_place(plan.config)
    for key, value in (*automodel.tokenizers(plan.config), *([place] if place else [])):
        if not dotted.left_to_the_job(value) and is_path(value, plan.visible):
            yield key, value


def is_path(value: str, visible: bool = True) -> bool:
    """A directory, and no hub id; a relative one is only known where this machine is the job's."""
    return value.startswith(("/", "./", "../", "~")) or (visible and os.path.isdir(value))  # noqa: PTH112  # a long name


def directories(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, path) of the directories that the training writes: its data's index, and checkpoints."""
    for key, path in (
        *automodel.index_dirs(plan.config),
        (automodel.CHECKPOINT_DIR, automodel.checkpoint_dir(plan.config)),
    ):
        if path is not None and _absolute(path) and not dotted.left_to_the_job(path):
            yield key, path


def tokenizer(plan: Plan, value: str) -> str | None:
    """tokenizer.json of a directory, or of a hub id in this machine's cache."""
    if dotted.left_to_the_job(value):
        return None
    if value.startswith("/"):
        return f"{value.rstrip('/')}/tokenizer.json"
    cached = cache.cached(value, "tokenizer.json") if plan.visible else None
    return str(cached) if cached else None


def outside(plan: Plan, path: str) -> str:
    """Where a path of the job's container lies, for a message; empty where it is the same."""
    seen = executors.get(plan.executor).mounts(plan)
    place = mounts.outside(path, seen) if seen else None
    return f" ({place} outside the container)" if place and place != path else ""
