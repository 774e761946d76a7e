"""A dataset's address in an object store, or on a web server -> its objects, in an order that every machine agrees on.

s3://BUCKET/KEY       one object; or all below KEY/ that match `include`, where there is no such object
s3://BUCKET/A/*.gz    those that match, as the paths of files do
https://HOST/PATH     one file; web servers have no lists
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data_prep_lib import stores
from data_prep_lib.config import Dataset
from data_prep_lib.errors import DataPrepError, InputError, Interrupted
from data_prep_lib.store_errors import MissingError
from data_prep_lib.walk import fits, has_magic, split_glob


def list_objects(dataset: Dataset) -> tuple[list[tuple[stores.Found, str]], bool]:
    """((object, its name below the dataset's address) in order; whether the address names the objects themselves).

    Raises:
        InputError: there are none, or they may not be read.
        DataPrepError: the store does not answer.
    """
    place, key = stores.parts(dataset.path)
    try:
        if (one := _one(dataset.path, key)) is not None:  # a name may hold the signs of a glob
            return [(one, key.rpartition("/")[2])], True
        if not has_magic(key):
            prefix, patterns, what = key.strip("/"), dataset.include, f"matches include {', '.join(dataset.include)}"
        else:
            base, pattern = split_glob(key)
            prefix, patterns, what = base.strip("/"), (pattern,), "matches it"
        objects = sorted(_below(place, prefix, patterns), key=lambda item: item[1])
    except Interrupted:
        raise
    except DataPrepError as e:
        raise type(e)(f"dataset {dataset.name!r}: {e}") from None
    if not objects:
        raise InputError(f"dataset {dataset.name!r}: {dataset.path}: no object {what}\n  mend `path` or `include`")
    return objects, has_magic(key)


def _one(address: str, key: str) -> stores.Found | None:
    """The object of this name; None where it may be a prefix."""
    if not key or key.endswith("/"):
        return None
    try:
        _, meta = stores.read_range(address, 0, 1)  # not HEAD, whose errors have no words
    except MissingError:
        if address.startswith("http"):
            raise
        return None
    return stores.found(address, meta)


def _below(place: str, prefix: str, patterns: Sequence[str]) -> Iterator[tuple[stores.Found, str]]:
    parts = [[part for part in pattern.split("/") if part not in ("", ".")] for pattern in patterns]
    for meta in stores.listed(place, prefix):
        path = str(meta["path"])
        name = path[len(prefix) + 1 :] if prefix else path
        if not int(meta["size"]) and "." not in name.rpartition("/")[2]:
            continue  # what consoles put down for a folder
        if name and any(_matches(name.split("/"), pattern) for pattern in parts):
            yield stores.found(f"{place}/{path}", meta), name


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """As Walk matches files: hidden ones only where a pattern names the dot."""
    if not pattern:
        return not names
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        rest = rest or ["*"]
        return _matches(names, rest) or (bool(names) and names[0][:1] != "." and _matches(names[1:], pattern))
    if not names or not fits(first)(names[0]):
        return False
    return (first.startswith(".") or not names[0].startswith(".")) and _matches(names[1:], rest)
