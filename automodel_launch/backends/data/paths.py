"""Paths of a config: relative ones, directories of tokenizers and models, and where they are outside a container."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from automodel_launch.backends import Reference
from automodel_launch.backends.data.facts import TOKENIZER_FILES, DataFacts
from automodel_launch.backends.hub import cache
from automodel_launch.config import dotted
from automodel_launch.plan import mounts
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def folders(plan: Plan, references: Iterable[Reference]) -> Iterator[Reference]:
    """The directories of tokenizers and of the model; what is no path is a hub id, where that would do."""
    for reference in dict.fromkeys(one for one in references if one.kind in ("tokenizer", "model")):
        is_path = not reference.hub or cache.is_path(reference.value, plan.visible)
        if is_path and not dotted.left_to_the_job(reference.value):
            yield reference


def check_folders(plan: Plan, references: Iterable[Reference], data: DataFacts) -> Iterator[Finding]:
    """Such a directory exists and holds what is loaded from it."""
    for reference in folders(plan, references):
        value = reference.value
        facts, where = data.about("folders", value), describe_value(plan, reference.key, value)
        if not value.startswith(("/", "~")) and facts.get("missing") is None:
            yield relative(where, value)
        elif "elsewhere" in facts:
            continue
        elif reference.kind == "model":
            if facts.get("missing"):
                message = f"{where}: no such directory{outside(plan, value)}."
                fix = "give a directory or a hub id" if reference.hub else "give a directory that holds a config.json"
                yield Finding("error", "no-model", message, fix)
            elif "config.json" not in facts["names"]:
                message = f"{where}: there is no config.json in it."
                yield Finding("error", "no-model", message, "a directory that save_pretrained or a download has made")
        elif facts.get("missing"):
            message = f"{where}: no such directory{outside(plan, value)}."
            yield Finding("error", "no-tokenizer", message, "give a directory or a hub id")
        elif not set(TOKENIZER_FILES) & set(facts["names"]):
            fix = "save one there with tokenizer.save_pretrained(DIR)"
            yield Finding("error", "no-tokenizer", f"{where}: there is no tokenizer.json in it.", fix)


def tokenizer_file(plan: Plan, value: str) -> str | None:
    """tokenizer.json of a directory, or of a hub id in this machine's cache; None where it is not known here."""
    if dotted.left_to_the_job(value):
        return None
    if value.startswith("/"):
        return f"{value.rstrip('/')}/tokenizer.json"
    cached = cache.cached(value, "tokenizer.json") if plan.visible else None
    return str(cached) if cached else None


def tokenizer_files(plan: Plan, values: Iterable[str | None]) -> tuple[str, ...]:
    """The same of several, without those that are not known."""
    found = (tokenizer_file(plan, value) for value in values if value is not None)
    return tuple(path for path in found if path)


def unwritable(plan: Plan, key: str, path: str, data: DataFacts) -> str | None:
    """That a directory cannot be written, for a message; None where it can be, or that is not known.

    Of one below the job root it is another finding: no other directory there could be written either.
    """
    if path.startswith(f"{plan.job_root.rstrip('/')}/"):
        return None
    facts = data.about("writable", path)
    if not facts.get("error"):
        return None
    return (
        f"{describe_value(plan, key, path)}: {facts['base']} cannot be written: {facts['error']}{outside(plan, path)}."
    )


def relatives(plan: Plan, given: Iterable[tuple[str, object]]) -> Iterator[Finding]:
    """(key, path) of what a recipe reads or writes: relative ones, which a job would look for beside its code.

    Those of files that travel with the code are there, also by a glob; addresses of stores are no paths.
    """
    for key, path in given:
        if not isinstance(path, str) or not path or path.startswith(("/", "~")) or "://" in path:
            continue
        if not _travels(plan, path) and not dotted.left_to_the_job(path):
            yield relative(describe_value(plan, key, path), path)


def _travels(plan: Plan, path: str) -> bool:
    own = f"code/{posixpath.normpath(path)}"
    glob = own.replace("**/", "*")
    depth = own.count("/") if glob == own else None  # `*` is of one name, and fnmatch's is of several
    return any(
        file.path == own
        or file.path.startswith(f"{own}/")
        or (depth in (None, file.path.count("/")) and fnmatch.fnmatchcase(file.path, glob))
        for file in plan.files
    )


def relative(where: str, path: str) -> Finding:
    """A path that the job would resolve in another directory."""
    message = f"{where}: {path} is relative, and the job runs elsewhere."
    return Finding("error", "relative-path", message, str(Path(path).absolute()))


def of_each_job(plan: Plan, key: str) -> Iterator[Finding]:
    """A relative directory for checkpoints is one of each job's own: a further job of the run would not find them."""
    value = dotted.get(plan.config, key)
    if not isinstance(value, str) or not value or value.startswith("/") or "://" in value:
        return
    if not dotted.left_to_the_job(value):
        is_home = value.startswith("~")
        what = "begins with ~, which no framework expands: it is relative" if is_home else "is relative"
        message = f"{describe(plan, key)} {what}, and each job of the run has a directory of its own:"
        fix = f"{key}=${{run.dir}}/{'checkpoints' if is_home else value.removeprefix('./')}"
        yield Finding("error", "relative-path", f"{message} none would go on where the one before stopped.", fix)


def outside(plan: Plan, path: str) -> str:
    """Where a path of the job's container is outside it, for a message; empty where it is the same."""
    place = mounts.outside(path, plan.mounts) if plan.mounts else None
    return f" ({place} outside the container)" if place and place != path else ""
