"""Finetuning's JSONL files: ChatDataset's and ColumnMappedTextInstructionDataset's, where this machine sees them.

AutoModel reads them when the job starts, after the queue; a row without its fields fails when it is first drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from automodel_launch.backends.automodel import datasets
from automodel_launch.backends.automodel.checks.batch import data_parallel
from automodel_launch.backends.data import paths
from automodel_launch.backends.data.rows import JSONL, count, seen
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import nearest

ROWS = 100  # of each file that are looked at
_LONGEST = 32 << 20  # bytes of a line that are read
_LARGEST = 64 << 20  # bytes of the largest JSON document that is read
_ELSEWHERE = ("hf://", "s3://", "gs://", "delta://", "http://", "https://")
_Wanted = Callable[[Mapping[str, Any]], "tuple[str, str] | None"]  # a row -> (what is wrong, how to mend it)


def files(plan: Plan) -> Iterator[Finding]:
    """Each file exists and its first rows have the fields that are asked for."""
    if not plan.visible:
        return
    for key, section in datasets.conversations(plan.config):
        named = section.get("path_or_dataset_id")
        wanted = _fields(section)
        for one in named if isinstance(named, list) else [named]:
            if isinstance(one, str) and one and not dotted.left_to_the_job(one) and wanted:
                yield from _file(plan, f"{key}.path_or_dataset_id", one, section, wanted)


def _file(plan: Plan, key: str, value: str, section: Mapping[str, Any], wanted: _Wanted) -> Iterator[Finding]:
    where = describe_value(plan, key, value)
    if value.startswith(_ELSEWHERE) or not value.startswith("/"):
        if not value.startswith(_ELSEWHERE) and _means_a_file(value):
            yield paths.relative(where, value)
        return  # a hub id
    place = seen(plan, value)
    if place is None:
        return
    try:
        if not place.exists():
            message = f"{where}: no such file{paths.outside(plan, value)}."
            yield Finding("error", "no-data", message, "the absolute path of a JSONL file, or a hub id")
        else:
            fault = _fault(place, section, wanted)
            if fault is None and isinstance(wanted, _Chat) and wanted.rows and not wanted.answers:
                fault = (
                    f"none of its first {wanted.rows} rows has an answer, of which alone the loss is made",
                    _ROWS_FIX,
                )
            if fault:
                yield Finding("error", "bad-conversations", f"{where}: {fault[0]}.", fault[1])
    except OSError as e:
        yield Finding("error", "no-data", f"{where}: it cannot be read: {e.strerror}.", "make it readable for the job")


def _fault(path: Path, section: Mapping[str, Any], wanted: _Wanted) -> tuple[str, str] | None:
    """(what is wrong, how to mend it) with a file or directory, by what the section's class does with it."""
    chat = datasets.is_chat(section)
    if path.is_dir():
        return _directory_fault(path, section)
    if path.suffix.lower() in JSONL:
        return _first_fault(path, wanted, section.get("skip_invalid_samples") is True)
    if path.suffix.lower() == ".parquet" or path.stat().st_size > _LARGEST:
        return None
    if not chat and path.suffix.lower() != ".json":
        return None
    return _document_fault(path, wanted, lines=not chat)


def _directory_fault(path: Path, section: Mapping[str, Any]) -> tuple[str, str] | None:
    """ChatDataset takes one with parquet files, where it is the only path; every other path is read as a file."""
    chat = datasets.is_chat(section)
    if chat and isinstance(section.get("path_or_dataset_id"), str) and any(path.glob("*.parquet")):
        return None
    found = sorted(str(one) for one in path.iterdir() if one.suffix.lower() in (*JSONL, ".json"))
    names = f"[{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}]"
    what = "is a directory without parquet files" if chat else "is a directory, and files are read"
    return what, f"the files in it: {names}" if found else "the paths of JSONL files"


def _document_fault(path: Path, wanted: _Wanted, lines: bool) -> tuple[str, str] | None:
    """Of a file that is one JSON document, an array of rows; `lines`: one object a line does, too."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        if lines:
            return _first_fault(path, wanted, skips=False)
        return (
            "it is read as one JSON document, and is not valid JSON",
            "one JSON object a line, in a file whose name ends in .jsonl",
        )
    rows = document if isinstance(document, list) else [document]
    if not rows:
        return "it has no rows", "an array of objects"
    for number, row in enumerate(rows[:ROWS], start=1):
        fault = _row_fault(row, wanted, "an array of objects")
        if fault:
            return f"row {number} {fault[0]}", fault[1]
    return None


def _row_fault(row: Any, wanted: _Wanted, form: str) -> tuple[str, str] | None:
    return wanted(row) if isinstance(row, dict) else (f"is {type(row).__name__}, not a JSON object", form)


def _means_a_file(value: str) -> bool:
    return value.startswith(("./", "../", "~")) or value.lower().endswith((*JSONL, ".json")) or Path(value).exists()


def _first_fault(path: Path, wanted: _Wanted, skips: bool) -> tuple[str, str] | None:
    """(what is wrong with the first bad row, how to mend it) among the first ROWS; blank lines count for nothing."""
    rows = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
            if len(line) == _LONGEST or rows == ROWS:
                return None
            if not line.strip():
                continue
            rows += 1
            try:
                row = json.loads(line)
            except ValueError:
                if skips:
                    continue
                return f"line {number} is not JSON", "one JSON object a line"
            fault = _row_fault(row, wanted, "one a line")
            if fault:
                return f"line {number} {fault[0]}", fault[1]
    return None if rows else ("it has no rows", "one JSON object a line")


def _fields(section: Mapping[str, Any]) -> _Wanted | None:
    """What is wrong with a row; None where the class is told nothing to look for."""
    if datasets.is_chat(section):
        return _Chat()
    mapping = section.get("column_mapping")
    if not isinstance(mapping, Mapping):
        return None
    columns = [str(column) for column in mapping.values() if not dotted.left_to_the_job(column)]

    def mapped(row: Mapping[str, Any]) -> tuple[str, str] | None:
        missing = [column for column in columns if column not in row]
        has = ", ".join(list(islice(map(str, row), 8))) or "none"
        return (
            (f"has no field {missing[0]!r} (it has: {has})", "name its fields in column_mapping") if missing else None
        )

    return mapped


class _Chat:
    """What is wrong with a row of ChatDataset's (chat_dataset.py: _normalize_messages, _conversations_to_messages)."""

    def __init__(self) -> None:
        self.rows = 0
        self.answers = 0  # turns of the assistant's, of which alone the loss is computed

    def __call__(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        self.rows += 1
        turns, name, text = row.get("messages"), "role", "content"
        if turns is None and row.get("conversations") is not None:
            turns, name, text = row["conversations"], "from", "value"
        if not isinstance(turns, list):
            has = ", ".join(list(islice(map(str, row), 8))) or "none"
            return f"has no list `messages` or `conversations` (it has: {has})", _ROWS_FIX
        for turn in turns:
            if not isinstance(turn, dict) or name not in turn:
                return f"has a turn without {name!r}", _ROWS_FIX
            fault = _role_fault(turn[name], name)
            if fault:
                return fault
            self.answers += turn[name] in _ANSWERS
        if turns and not any(turn.keys() & {text, "content", *_NO_TEXT} for turn in turns):
            has = ", ".join(list(islice(map(str, turns[0]), 8)))
            return f"has turns without {text!r}, which would be empty (they have: {has})", _ROWS_FIX
        return None


def _role_fault(role: Any, name: str) -> tuple[str, str] | None:
    known = _ROLES[name]
    if role in known or (name == "from" and role in _ROLES["role"] and role != "tool"):
        return None
    near = nearest(str(role), list(known))
    return f"has a turn of {role!r}, and AutoModel stops at it", f"{name}: {near or ', '.join(known)}"


_ROWS_FIX = 'rows such as {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
_ANSWERS = ("assistant", "gpt", "chatgpt", "model", "bot")
_ROLES = {"role": ("system", "user", "assistant", "tool"), "from": ("system", "human", "user", *_ANSWERS)}
_NO_TEXT = ("tool_calls", "reasoning_content")  # of a turn that need not say anything


def enough(plan: Plan) -> Iterator[Finding]:
    """Ranks get as many rows each, and the rest is left out: with fewer rows than ranks there is no step."""
    section, ranks = plan.config.get("dataset"), data_parallel(plan)
    if not isinstance(section, Mapping) or not datasets.reads_conversations(section) or datasets.streams(section):
        return
    named = section.get("path_or_dataset_id")
    counts = [count(plan, one, ranks or 1) for one in (named if isinstance(named, list) else [named])]
    found = sum(one for one in counts if one is not None)
    if ranks is not None and None not in counts and 0 < found < ranks:
        message = f"{describe(plan, 'dataset.path_or_dataset_id')}: rows: {found}, and {ranks} data-parallel ranks"
        fix = "more rows, or fewer processes (nproc_per_node, nodes)"
        yield Finding("error", "no-batch", f"{message} take as many each: no step would be taken.", fix)


CHECKS = (files, enough)
