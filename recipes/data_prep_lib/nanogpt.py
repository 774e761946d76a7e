"""nanoGPT's .bin shards with their .bos.idx, as AutoModel 0.7.0's NanogptDataset reads them.

.bin      int32[256] header: 278895051, 1, number of tokens, bytes a token (2 or 4); then the ids, little-endian
          uint16 or uint32
.bos.idx  int32[documents]: the positions of the documents' first tokens, counted in tokens. No header. (AutoModel's own
          nanogpt_data_processor.py writes byte offsets here, which its reader takes for tokens.)

How many files may there be? NanogptDataset deals them out to readers, of which there are (ranks x data loader workers):
reader i takes files i, i + readers, ... Two traps lie in it (found by running it):
- a reader with exactly one file reads only its own 1/readers of it, as if all readers shared that file;
- a reader without a file reads 1/readers of the first one, or all of them, which others read too.
So all is read once for exactly one file (whatever the number of readers), or for at least two files a reader; and the
readers end their epoch together if there are equally many for each, of equal size.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep_lib.safe_files import writing

MAGIC, LEGACY_MAGIC = 278895051, 20240520
VERSION = 1
HEADER_BYTES = 1024
# The header's count and .bos.idx are int32, and a reader adds one to a position.
MAX_TOKENS = 2**31 - 2
# Files are cut where a document ends: room for a last document that is longer than the others.
_AIM_TOKENS = 2_000_000_000
# Without `ranks`: 96 files are at least two a reader, equally many, for 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 or 48 readers.
_ANY_RANKS = 48
# Ids are tokenized into Megatron pairs first, which know no uint32; the bytes are the same, ids being below 2^31.
DTYPES = {"uint16": "uint16", "int32": "uint32"}


def number_of_files(tokens: int, readers: int | None) -> int:
    """Two files a reader, or a multiple of it; None is for any number of readers: one file, where the tokens fit."""
    if readers is None and tokens <= MAX_TOKENS:
        return 1
    step = 2 * (readers or _ANY_RANKS)
    return step * max(1, -(-tokens // (step * _AIM_TOKENS)))


def header(tokens: int, itemsize: int) -> bytes:
    values = np.zeros(HEADER_BYTES // 4, "<i4")
    values[:4] = MAGIC, VERSION, tokens, itemsize
    return values.tobytes()


def index_path(path: Path) -> Path:
    """The .bos.idx that belongs to a .bin."""
    return path.with_suffix(".bos.idx")


def write_file(
    path: Path, tokens: int, itemsize: int, content: Iterable[tuple[Iterable[bytes], npt.NDArray[np.int32]]]
) -> None:
    """Write a .bin of `tokens` ids and its .bos.idx.

    `content`: (the ids' bytes, the lengths in tokens) of consecutive complete documents.
    """
    at = 0
    with writing(path) as out, writing(index_path(path)) as index:
        out.write(header(tokens, itemsize))
        for chunks, lengths in content:
            for chunk in chunks:
                out.write(chunk)
            ends = at + np.cumsum(lengths, dtype=np.int64)
            index.write((ends - lengths).astype("<i4").tobytes())
            at = int(ends[-1])
        if at != tokens or out.tell() != HEADER_BYTES + tokens * itemsize:
            raise ValueError(
                f"{path}: {at} tokens in {out.tell()} bytes instead of {tokens} tokens of {itemsize} bytes"
            )
