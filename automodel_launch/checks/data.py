"""The data that the config names: there, whole enough to open, and where the job will look for it."""

from __future__ import annotations

import glob
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from automodel_launch import automodel, executors, lineage
from automodel_launch.checks.finding import Finding
from automodel_launch.executors import mounts
from automodel_launch.plan import Plan

PREPARE = "python launch.py data-prep prepares data; bash scripts/quickstart.sh makes that of pretrain -c tiny"
SPLITS = {"train", "valid", "validation", "val", "dev", "test"}


def shards(plan: Plan) -> Iterator[Finding]:
    """Every shard that a dataset names has its files, and they are not empty."""
    for key, value in automodel.data_paths(plan.config):
        if _unknown_here(plan, value):
            continue
        source = f"{key} ({plan.provenance.get(key, plan.config_name)})"
        if key.endswith("file_pattern"):
            for pattern in value if isinstance(value, list) else [value]:
                yield from _pattern(str(pattern), source)
        else:
            yield from _paths(value, source)


def tokenizer(plan: Plan) -> Iterator[Finding]:
    """A tokenizer given as a path is a directory that holds one; anything else is taken for a hub id."""
    for key, value in automodel.tokenizers(plan.config):
        if _unknown_here(plan, value) or not _is_path(value):
            continue
        source = f"{key} = {value} ({plan.provenance.get(key, plan.config_name)})"
        folder = Path(value)
        if not folder.is_absolute() and folder.is_dir():
            yield _relative(source, value)
        elif not folder.is_dir():
            yield Finding("error", "no-tokenizer", f"{source}: no such directory.", "give a directory or a hub id")
        elif not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
            fix = "save one there with tokenizer.save_pretrained(DIR)"
            yield Finding("error", "no-tokenizer", f"{source}: there is no tokenizer.json in it.", fix)


def tokenizer_of_the_data(plan: Plan) -> Iterator[Finding]:
    """Training uses the tokenizer that made its data: ids of another one train on garbage without an error."""
    for made in lineage.of_plan(plan):
        for key, value in automodel.data_tokenizers(plan.config):
            verdict = "same" if "${oc.env:" in value else lineage.same(made, value, plan.visible)
            source = f"{key} = {value} ({plan.provenance.get(key, plan.config_name)})"
            if verdict == "other":
                fix = f"{key}={made.name}, or make the data again with tokenizer={value}"
                message = f"{source}: the data {made.data} were made with another tokenizer, {made.name}."
                yield Finding("error", "other-tokenizer", message, fix)
            elif verdict == "unknown":
                message = (
                    f"{source}: the data {made.data} were made with {made.name}; they cannot be compared from here."
                )
                yield Finding("warning", "other-tokenizer", message, f"{key}={made.name}, unless they are the same")


def _unknown_here(plan: Plan, value: Any) -> bool:
    """The value is known only in the job, or names a place on another machine."""
    return "${oc.env:" in str(value) or not plan.visible or _elsewhere_inside(plan, str(value))


def _elsewhere_inside(plan: Plan, path: str) -> bool:
    """In the job's container, that path is not what it is on this machine; checks/containers.py looks at it."""
    seen = executors.get(plan.executor).mounts(plan)
    return bool(seen) and path.startswith("/") and mounts.outside(path, seen) != posixpath.normpath(path)


def _is_path(value: str) -> bool:
    return value.startswith(("/", "./", "../", "~")) or os.path.exists(value)  # noqa: PTH110  # False for a name too long


def _paths(value: Any, source: str) -> Iterator[Finding]:
    if not value:
        yield Finding("error", "no-data", f"{source}: names no data.", PREPARE)
    elif isinstance(value, dict):
        for split, prefixes in value.items():
            yield from _split(split, prefixes, source)
    elif isinstance(value, list):
        yield from _prefixes(value, source)
    elif str(value).endswith(".json"):
        yield from _blend(Path(value), source)
    else:
        yield from _prefixes([value], source)


def _relative(where: str, path: str) -> Finding:
    message = f"{where}: {path} is relative, and the job runs elsewhere."
    return Finding("error", "relative-path", message, str(Path(path).absolute()))


def _blend(path: Path, source: str) -> Iterator[Finding]:
    where = f"{source}: {path}"
    if not path.is_absolute():
        yield _relative(where, str(path))
        return
    try:
        blend = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield Finding("error", "no-data", f"{where}: no such file.", PREPARE)
        return
    except (OSError, ValueError) as error:
        yield Finding("error", "bad-blend", f"{where}: cannot be read as JSON: {error}", PREPARE)
        return
    if isinstance(blend, list) and blend:
        yield from _prefixes(blend, where)
    elif isinstance(blend, dict) and blend:
        for split, prefixes in blend.items():
            yield from _split(split, prefixes, where)
    else:
        yield Finding("error", "bad-blend", f"{where}: neither splits nor a list of prefixes stand in it.", PREPARE)


def _split(split: str, prefixes: Any, where: str) -> Iterator[Finding]:
    if split not in SPLITS:
        yield Finding("error", "bad-blend", f"{where}: '{split}' is no split.", f"splits: {', '.join(sorted(SPLITS))}")
    elif isinstance(prefixes, str):  # AutoModel takes it apart letter by letter
        fix = f'"{split}": ["1.0", "{prefixes}"]'
        yield Finding("error", "bad-blend", f"{where}: {split}: is a text, and must be a list.", fix)
    elif not isinstance(prefixes, list) or not prefixes:
        yield Finding("error", "bad-blend", f"{where}: {split}: is empty.", "leave an empty split out")
    else:
        yield from _prefixes(prefixes, f"{where}: {split}")


def _prefixes(entries: list[Any], where: str) -> Iterator[Finding]:
    """Prefixes of .bin/.idx pairs, or weights and prefixes in turn (megatron_dataset.py, is_zipped_list)."""
    names = entries[1::2] if len(entries) > 1 and _is_number(entries[0]) else entries
    for name in names:
        if not Path(str(name)).is_absolute():
            yield _relative(where, str(name))
            continue
        for end in (".bin", ".idx"):
            file = Path(f"{name}{end}")
            if not file.is_file():
                yield Finding("error", "no-data", f"{where}: {file} does not exist.", PREPARE)
                break
            if file.stat().st_size == 0:
                yield Finding("error", "no-data", f"{where}: {file} is empty.", PREPARE)
                break


def _is_number(entry: Any) -> bool:
    try:
        float(entry)
    except (TypeError, ValueError):
        return False
    return True


def _pattern(pattern: str, source: str) -> Iterator[Finding]:
    if not Path(pattern).is_absolute():
        yield _relative(source, pattern)
        return
    files = glob.glob(pattern)  # noqa: PTH207 (as AutoModel reads it, relative or absolute)
    if not files:
        yield Finding("error", "no-data", f"{source}: no file matches {pattern}.", PREPARE)
    for file in files:
        if Path(file).stat().st_size <= 1024:  # a .bin shard begins with a header of 1,024 bytes
            yield Finding("error", "no-data", f"{source}: {file} holds no tokens.", PREPARE)


CHECKS = (shards, tokenizer, tokenizer_of_the_data)
