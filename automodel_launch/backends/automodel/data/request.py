"""What of an AutoModel config facts are collected about."""

from __future__ import annotations

from typing import Any

from automodel_launch.backends.automodel import datasets, references
from automodel_launch.backends.data import paths, probe
from automodel_launch.backends.data.facts import Request
from automodel_launch.config import dotted
from automodel_launch.plan.plan import Plan


def of(plan: Plan) -> Request:
    """Data, tokenizers and directories of a plan's config."""
    config = plan.config
    named: dict[str, list[str]] = {"blends": [], "globs": [], "pairs": [], "shards": []}
    for key, value in datasets.data_paths(config):
        if dotted.left_to_the_job(value) or not value:
            continue
        if key.endswith("file_pattern"):
            named["shards"] += [str(one) for one in (value if isinstance(value, list) else [value]) if _absolute(one)]
        elif kind_of_paths(value) == "pairs":
            named["pairs"] += probe.prefixes(value)
        elif _absolute(value):
            named[kind_of_paths(value)].append(value)
    return Request(
        **{kind: tuple(dict.fromkeys(names)) for kind, names in named.items()},
        folders=tuple(dict.fromkeys(one.value for one in paths.folders(plan, references.references(config)))),
        writable=tuple(dict.fromkeys(path for _, path in references.outputs(config))),
        tokenizers=paths.tokenizer_files(plan, [value for _, value in datasets.data_tokenizers(config)]),
        bos=datasets.aligns(config),
    )


def kind_of_paths(value: Any) -> str:
    """How Megatron's `paths` is read: a blend in a file, a pattern, or prefixes (megatron_dataset.py)."""
    if isinstance(value, str) and value.lower().endswith(".json"):
        return "blends"
    return "globs" if isinstance(value, str) and any(mark in value for mark in "*?[") else "pairs"


def _absolute(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")
