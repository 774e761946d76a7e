"""A dataset's path (file, glob or directory) -> its files, in an order that every machine agrees on."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_prep_lib.config import Dataset
from data_prep_lib.errors import InputError
from data_prep_lib.remote import is_remote

_JSONL = (".jsonl", ".ndjson", ".json")
COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True)
class SourceFile:
    """A file as found when the work was planned; `size` in bytes, `mtime_ns` as os.stat gives it."""

    path: str
    size: int
    mtime_ns: int
    sha256: str | None = None  # where the hub knows it


@dataclass(frozen=True)
class Source:
    """A dataset with its files; `format` is jsonl, parquet or text."""

    dataset: Dataset
    format: str
    files: tuple[SourceFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def find_source(dataset: Dataset, kept: Path) -> Source:
    """The files of one dataset; refuses what is missing, empty, unreadable or ambiguous.

    `kept` is the directory for what the hub has said.
    """
    if is_remote(dataset.path):
        return _hf_source(dataset, kept)
    paths = _paths(dataset)
    kind = dataset.format or _only_format(dataset, paths)
    if Path(dataset.path).is_dir() and kind != "text":
        paths = [path for path in paths if format_of(path) == kind]
    if not paths:
        raise InputError(f"dataset {dataset.name!r}: no {kind} file in {dataset.path}\n  set its `path` or `include`")
    files = tuple(_stat(dataset, path) for path in paths)
    if not any(file.size for file in files):
        raise InputError(f"dataset {dataset.name!r}: {dataset.path} is empty ({len(files)} file(s), 0 bytes)")
    return Source(dataset, kind, files)


def _hf_source(dataset: Dataset, kept: Path) -> Source:
    from data_prep_lib.hf_datasets import list_files

    listed = list_files(dataset, kept)
    kind = dataset.format or _only_format(dataset, [path for path, _, _ in listed])
    files = [
        SourceFile(path, size, 0, sha256) if is_remote(path) else _stat(dataset, path) for path, size, sha256 in listed
    ]
    return Source(dataset, kind, tuple(files))


def format_of(path: str) -> str:
    """jsonl, parquet or text, by the suffix; a suffix of a compressed file is looked through."""
    name = Path(path.lower())
    suffix = Path(name.stem).suffix if name.suffix in COMPRESSED else name.suffix
    if suffix in _JSONL:
        return "jsonl"
    return "parquet" if suffix in (".parquet", ".pq") else "text"


def _paths(dataset: Dataset) -> list[str]:
    path = dataset.path
    if Path(path).is_dir():
        patterns = dataset.include
        # glob, not Path.glob: it passes over hidden files, such as those of .git and .cache
        found = {m for p in patterns for m in glob.glob(p, root_dir=path, recursive=True)}  # noqa: PTH207
        matches: Iterable[str] = (str(Path(path, m)) for m in found)
        what = f"no file in {path} matches include {', '.join(patterns)}"
    elif Path(path).exists():
        return [path]
    else:
        matches = glob.glob(path, recursive=True)  # noqa: PTH207
        what = f"no file matches {path}" if glob.has_magic(path) else f"{path} does not exist"
    files = sorted(match for match in matches if Path(match).is_file())
    if not files:
        raise InputError(f"dataset {dataset.name!r}: {what}\n  set its `path` to a file, a glob or a directory of text")
    return files


def _only_format(dataset: Dataset, paths: list[str]) -> str:
    kinds = sorted({format_of(path) for path in paths})
    if len(kinds) > 1:
        raise InputError(
            f"dataset {dataset.name!r}: {dataset.path} holds {' and '.join(kinds)} files\n"
            "  set its `format` (jsonl, parquet or text), or narrow its `path` or `include`"
        )
    return kinds[0]


def _stat(dataset: Dataset, path: str) -> SourceFile:
    if not os.access(path, os.R_OK):
        raise InputError(f"dataset {dataset.name!r}: {path} cannot be read (permissions)")
    found = Path(path).stat()
    return SourceFile(path, found.st_size, found.st_mtime_ns)
