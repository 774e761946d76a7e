"""Files -> shards, the units of work: a rule of the input's bytes alone, never of the number of workers.

All files of a source, one after another, are a line of bytes; shard k of n is its k-th part. A JSONL line or a parquet
row group belongs to the part in which it begins, a text file to the part in which the file begins.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from data_prep_lib.inputs import Source
from data_prep_lib.kinds import COMPRESSED

# Large enough that files stay few (a blend holds fewer than 32,767), small enough that a kill loses a minute of work.
_SHARD_BYTES = 256 << 20
_SMALL_SHARD_BYTES = 4 << 20
_LARGE_SHARD_BYTES = 1 << 30
_MANY_SHARDS, _MAX_SHARDS = 1024, 8192
# A compressed file is read from its start for each of its parts: more parts than this cost more than they gain.
_COMPRESSED_PARTS = 8


@dataclass(frozen=True)
class Piece:
    """The bytes [start, end) of a file of `size` bytes; `mtime_ns` as it was planned, 0 where it cannot change.

    `version`: of an object in a store, its entity tag.
    """

    path: str
    size: int
    start: int
    end: int
    mtime_ns: int = 0
    name: str = ""  # below its dataset's path
    version: str = ""


@dataclass(frozen=True)
class Shard:
    """What one worker turns into one set of output files."""

    dataset: str
    number: int
    format: str
    text_field: str
    pieces: tuple[Piece, ...]
    max_tokens: int | None = None  # of all splits together; see budget.py

    @property
    def name(self) -> str:
        return f"{self.dataset}_{self.number:05d}"

    @property
    def size(self) -> int:
        return sum(piece.end - piece.start for piece in self.pieces)

    @property
    def origin(self) -> list[object]:
        """What its bytes depend on, but for the content of the files; the same wherever they are moved."""
        pieces = [[piece.name or piece.path, piece.size, piece.start, piece.end] for piece in self.pieces]
        return [self.dataset, self.number, self.format, self.text_field, pieces, self.max_tokens]

    @property
    def ranges(self) -> list[tuple[str, int, int]]:
        """(path, first byte, last byte + 1) of every piece."""
        return [(piece.path, piece.start, piece.end) for piece in self.pieces]


def default_num_shards(size: int) -> int:
    """By bytes: up to 8 shards of at least 4 MiB, then one a 256 MiB up to 1,024, one a GiB up to 8,192."""
    few = min(8, -(-size // _SMALL_SHARD_BYTES))
    usual = min(_MANY_SHARDS, -(-size // _SHARD_BYTES))
    return max(1, few, usual, min(_MAX_SHARDS, -(-size // _LARGE_SHARD_BYTES)))


def plan_shards(source: Source, num_shards: int | None) -> list[Shard]:
    n = num_shards or default_num_shards(source.size)
    total = source.size
    cuts = [total * k // n for k in range(n + 1)]
    parts: list[list[Piece]] = [[] for _ in range(n)]
    begin = 0
    for file in source.files:
        for k, start, end in _split(file.path, source.format, begin, file.size, cuts):
            parts[k].append(Piece(file.path, file.size, start, end, file.mtime_ns, file.name, file.version))
        begin += file.size
    dataset = source.dataset
    return [Shard(dataset.name, k, source.format, dataset.text_field, tuple(part)) for k, part in enumerate(parts)]


def _split(path: str, kind: str, begin: int, size: int, cuts: list[int]) -> list[tuple[int, int, int]]:
    """(shard, start, end) for each part of the file that lies at [begin, begin + size) of its source."""
    first = max(0, bisect_left(cuts, begin + 1) - 1)
    if kind == "text" or size == 0:
        return [(min(first, len(cuts) - 2), 0, size)]
    last = bisect_left(cuts, begin + size)
    inner = [_cut(path, cut - begin, size) for cut in cuts[first + 1 : last]]
    edges = [0, *inner, size]
    return [(first + i, a, b) for i, (a, b) in enumerate(pairwise(edges)) if a < b]


def _cut(path: str, offset: int, size: int) -> int:
    if not path.lower().endswith(COMPRESSED):
        return offset
    return round(offset * _COMPRESSED_PARTS / size) * size // _COMPRESSED_PARTS
