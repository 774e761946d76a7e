"""A dataset's path (file, glob or directory) -> its files, in an order that every machine agrees on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data_prep_lib import stores
from data_prep_lib.config import Dataset
from data_prep_lib.errors import InputError, reading
from data_prep_lib.kinds import settle
from data_prep_lib.remote import SCHEME, is_remote
from data_prep_lib.store_listing import list_objects
from data_prep_lib.walk import Walk, has_magic, split_glob


@dataclass(frozen=True)
class SourceFile:
    """A file as found when the work was planned; `size` in bytes, `mtime_ns` as os.stat gives it.

    `name` is its path below the dataset's own: what stays when all of it is moved. `version`: of an object in a store,
    its entity tag, in place of the time.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str | None = None  # where the hub knows it
    name: str = ""
    version: str = ""

    @property
    def state(self) -> int | str:
        """What changes when the content does."""
        return self.version or self.mtime_ns


@dataclass(frozen=True)
class Source:
    """A dataset with its files; `format` is jsonl, parquet or text, `notes` what was left out of it."""

    dataset: Dataset
    format: str
    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def find_source(dataset: Dataset, kept: Path) -> Source:
    """The files of one dataset; refuses what is missing, empty, unreadable or ambiguous.

    `kept` is the directory for what the hub has said.
    """
    if dataset.path.startswith(SCHEME):
        return _hf_source(dataset, kept)
    if stores.is_address(dataset.path):
        return _store_source(dataset)
    with reading(f"dataset {dataset.name!r}"):
        return _local_source(dataset)


def _local_source(dataset: Dataset) -> Source:
    base, paths, notes = _paths(dataset)
    kind, paths, left_out = settle(dataset, paths, named=not Path(dataset.path).is_dir())
    if not paths:
        raise InputError(f"dataset {dataset.name!r}: no {kind} file in {dataset.path}\n  set its `path` or `include`")
    files, twice = _once(dataset, base, paths)
    if not any(file.size for file in files):
        raise InputError(f"dataset {dataset.name!r}: {dataset.path} is empty ({len(files)} file(s), 0 bytes)")
    notes = [f"dataset {dataset.name!r}: {note}" for note in (*notes, *left_out, *twice)]
    return Source(dataset, kind, files, tuple(notes))


def _hf_source(dataset: Dataset, kept: Path) -> Source:
    from data_prep_lib.hf_datasets import list_files

    listed = list_files(dataset, kept)
    kind, _, _ = settle(dataset, [path for path, _, _ in listed], named=True)
    base = dataset.path.removeprefix("hf://")
    files = [
        SourceFile(path, size, 0, sha256, path) if is_remote(path) else _stat(dataset, base, path)[1]
        for path, size, sha256 in listed
    ]
    return Source(dataset, kind, tuple(files))


def _store_source(dataset: Dataset) -> Source:
    objects, named = list_objects(dataset)
    known = {
        found.address: SourceFile(found.address, found.size, 0, None, name, found.version) for found, name in objects
    }
    kind, paths, notes = settle(dataset, list(known), named)
    files = tuple(known[path] for path in paths)
    if not any(file.size for file in files):
        raise InputError(f"dataset {dataset.name!r}: {dataset.path} is empty ({len(files)} {kind} file(s), 0 bytes)")
    return Source(dataset, kind, files, tuple(f"dataset {dataset.name!r}: {note}" for note in notes))


def _paths(dataset: Dataset) -> tuple[str, list[str], list[str]]:
    """(the directory that the files' names are told from, their paths, notes)."""
    path, walk = dataset.path, Walk(dataset.follow_links)
    if Path(path).is_dir():
        base, patterns = path, dataset.include
        what = f"no file in {path} matches include {', '.join(patterns)}"
    elif Path(path).exists():
        return str(Path(path).parent), [path], []
    elif has_magic(path):
        base, pattern = split_glob(path)
        patterns, what = (pattern,), f"no file matches {path}"
    else:
        base, patterns, what = path, (), f"{path} does not exist"
    try:
        files = walk.files(base, patterns) if Path(base).is_dir() else []
    except OSError as e:
        raise InputError(
            f"dataset {dataset.name!r}: {e.filename} cannot be read: {e.strerror}\n"
            "  a part of the data would be missing: mend that, or leave it out by `path` or `include`"
        ) from None
    if not files:
        raise InputError(f"dataset {dataset.name!r}: {what}\n  set its `path` to a file, a glob or a directory of text")
    if not walk.links:
        return base, files, []
    text = f"{len(walk.links)} links to directories were not followed, the first: {walk.links[0]} (follow_links: true)"
    return base, files, [text]


def _once(dataset: Dataset, base: str, paths: list[str]) -> tuple[tuple[SourceFile, ...], list[str]]:
    """The files, one that has several names once: links would multiply what it weighs."""
    files: list[SourceFile] = []
    first: dict[tuple[int, int], str] = {}
    twice: list[str] = []
    for path in paths:
        (device, inode), file = _stat(dataset, base, path)
        if inode and first.setdefault((device, inode), path) != path:  # some file systems have no inode numbers
            twice.append(path)
        else:
            files.append(file)
    if not twice:
        return tuple(files), []
    place, _ = _stat(dataset, base, twice[0])
    text = f"{len(twice)} files are others by another name, and taken once: {twice[0]} is {first[place]}"
    return tuple(files), [text]


def _stat(dataset: Dataset, base: str, path: str) -> tuple[tuple[int, int], SourceFile]:
    """((device, inode), the file)."""
    if not os.access(path, os.R_OK):
        raise InputError(f"dataset {dataset.name!r}: {path} cannot be read (permissions)")
    found = Path(path).stat()
    file = SourceFile(path, found.st_size, found.st_mtime_ns, name=os.path.relpath(path, base))
    return (found.st_dev, found.st_ino), file
