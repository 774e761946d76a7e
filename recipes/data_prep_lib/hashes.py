"""Hashes: of a value, which names what was made of it; of what was read of the input files, for the lineage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from data_prep_lib.remote import is_remote

_CHUNK = 1 << 20
Part = tuple[str, int, int, str]  # path, first byte, last byte + 1, sha256


def fingerprint(value: Any) -> str:
    """The same for equal values that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def of_ranges(ranges: Iterable[tuple[str, int, int]]) -> list[Part]:
    """sha256 of (path, first byte, last byte + 1); of parts, as shards may share a file.

    Of local files only: the hub has its own of remote ones. The files were just read, so they are in the cache.
    """
    return [(path, start, end, _sha256(path, start, end)) for path, start, end in ranges if not is_remote(path)]


def _sha256(path: str, start: int, end: int) -> str:
    digest, left = hashlib.sha256(), end - start
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
