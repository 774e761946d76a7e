"""What is refused before any work starts: a field that is not there, a disk that is clearly too small."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep_lib.errors import InputError, RefusedError
from data_prep_lib.inputs import Source
from data_prep_lib.kinds import COMPRESSED
from data_prep_lib.progress import room
from data_prep_lib.readers import ShardReader
from data_prep_lib.shards import Piece, Shard

_PROBED_ROWS = 100
# Bytes of input for one token, high on purpose: English text has 4 to 5, and rows have other fields beside the text.
# Only a disk that is clearly too small is refused; one that fills up later is an error then.
_BYTES_PER_TOKEN = 8
_PACKED_BYTES_PER_TOKEN = 4


class _Probe(ShardReader):
    def bad(self, where: str, what: str) -> None:
        super().bad(where, what)
        if self.num_skipped >= _PROBED_ROWS:
            raise InputError(f"{self.skipped[0]}\n  none of the first {_PROBED_ROWS} rows is good; set `text_field`")


def check_rows(source: Source, on_error: str) -> None:
    """Read a source up to its first good row."""
    file = next(file for file in source.files if file.size)
    piece = Piece(file.path, file.size, 0, file.size, file.mtime_ns, file.name, file.version)
    dataset = source.dataset
    next(_Probe(Shard(dataset.name, 0, source.format, dataset.text_field, (piece,)), on_error).documents(), None)


def check_disk(output_dir: Path, shards: Sequence[Shard], dtype: str, sample: int | None, copies: int = 1) -> None:
    """`copies`: how often each token is on the disk at once; 2 where files are assembled from parts."""
    if sample:
        return
    need = sum(map(_least_tokens, shards)) * np.dtype(dtype).itemsize * copies
    parent = output_dir
    while not os.path.exists(parent):  # noqa: PTH110 (Path's raises where a directory may not be entered)
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < need:
        raise RefusedError(
            f"output_dir: {parent} has {room(free)} free; this input needs at least {room(need)}\n"
            "  free space, or choose an output_dir on a larger disk"
        )


def _least_tokens(shard: Shard) -> int:
    tokens = sum(
        (piece.end - piece.start) // (_PACKED_BYTES_PER_TOKEN if _is_packed(piece.path) else _BYTES_PER_TOKEN)
        for piece in shard.pieces
    )
    return tokens if shard.max_tokens is None else min(tokens, shard.max_tokens)


def _is_packed(path: str) -> bool:
    return Path(path.lower()).suffix in COMPRESSED
