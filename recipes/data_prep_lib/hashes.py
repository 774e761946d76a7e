"""sha256 of what a shard has read of its input files, for the lineage: of parts, as shards may share a file."""

from __future__ import annotations

import hashlib

from data_prep_lib.remote import is_remote
from data_prep_lib.shards import Shard

_CHUNK = 1 << 20
Part = tuple[str, int, int, str]  # path, first byte, last byte + 1, sha256


def of_shard(shard: Shard) -> list[Part]:
    """Of its local files: the hub has its own of remote ones. The files were just read, so they are in the cache."""
    parts = []
    for piece in shard.pieces:
        if not is_remote(piece.path):
            parts.append((piece.path, piece.start, piece.end, _sha256(piece.path, piece.start, piece.end)))
    return parts


def _sha256(path: str, start: int, end: int) -> str:
    digest, left = hashlib.sha256(), end - start
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
