"""Megatron's bin/idx pair, as AutoModel 0.7.0's IndexedDataset reads it.

.bin  the token ids, one document after another, little-endian uint16 or int32
.idx  b"MMIDIDX\\0\\0", <Q version 1, <B dtype code, <Q sequences n, <Q n + 1,
      int32[n] lengths in tokens, int64[n] byte offsets into .bin, int64[n + 1] document indices 0..n
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from data_prep_lib.safe_files import writing

INDEX_MAGIC = b"MMIDIDX\x00\x00"
INDEX_HEADER = struct.Struct("<9sQBQQ")
_DTYPE_CODES = {"uint16": 8, "int32": 4}


class PairWriter:
    """Writes one bin/idx pair; without a document no file appears. Use as a context manager."""

    def __init__(self, prefix: Path, dtype: str) -> None:
        self.documents = self.tokens = self.bytes = 0  # bytes: of text, UTF-8
        self._prefix, self._dtype = prefix, np.dtype(dtype).newbyteorder("<")
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._bin: IO[bytes] | None = None
        self._stack = ExitStack()

    def add(self, ids: Iterable[npt.NDArray[Any]], lengths: npt.NDArray[np.int32], text_bytes: int) -> None:
        """Append documents: arrays of the writer's dtype that hold their ids one after another, and their lengths.

        `text_bytes` is the size of their texts together.
        """
        self._write(ids)
        self._lengths.append(lengths)
        self.documents += len(lengths)
        self.tokens += int(lengths.sum(dtype=np.int64))
        self.bytes += text_bytes

    def add_one(self, ids: Iterable[npt.NDArray[Any]], text_bytes: int) -> int:
        """Append one document, whose ids come in parts; how many there are. None of them: no document."""
        tokens = 0

        def counted() -> Iterator[npt.NDArray[Any]]:
            nonlocal tokens
            for part in ids:
                tokens += len(part)
                yield part

        parts = (part for part in counted() if len(part))
        for first in parts:
            self._write(chain([first], parts))
            self._lengths.append(np.array([tokens], np.int32))
            self.documents += 1
            self.tokens += tokens
            self.bytes += text_bytes
        return tokens

    def _write(self, ids: Iterable[npt.NDArray[Any]]) -> None:
        if self._bin is None:
            self._bin = self._stack.enter_context(writing(self._prefix.with_name(self._prefix.name + ".bin")))
        for part in ids:
            self._bin.write(part.data)

    def __enter__(self) -> PairWriter:
        return self

    def __exit__(self, *error: object) -> None:
        # only the .bin's own block sees the error: it must remove the temporary file, or else rename it before the .idx
        self._stack.__exit__(*error)  # type: ignore[arg-type]
        if self._bin is not None and error[0] is None:
            write_index(self._prefix, np.concatenate(self._lengths), self._dtype)


def write_index(prefix: Path, lengths: npt.NDArray[np.int32], dtype: np.dtype[np.generic]) -> None:
    n = len(lengths)
    offsets = np.zeros(n, "<i8")
    np.cumsum(lengths[:-1], dtype=np.int64, out=offsets[1:])
    offsets *= dtype.itemsize
    with writing(prefix.with_name(prefix.name + ".idx")) as file:
        file.write(INDEX_HEADER.pack(INDEX_MAGIC, 1, _DTYPE_CODES[dtype.name], n, n + 1))
        for part in (lengths.astype("<i4"), offsets, np.arange(n + 1, dtype="<i8")):
            file.write(part.tobytes())


def count_documents(prefix: Path) -> int:
    """Documents of a pair, from an .idx that this module wrote."""
    path = prefix.with_name(prefix.name + ".idx")
    with open(path, "rb") as file:
        magic, _, _, n, _ = INDEX_HEADER.unpack(file.read(INDEX_HEADER.size))
    if magic != INDEX_MAGIC:
        raise ValueError(f"{path} is not a Megatron index")
    return int(n)


def read_lengths(prefix: Path, first: int = 0, count: int | None = None) -> npt.NDArray[np.int32]:
    """Tokens of the documents [first, first + count), as far as there are any."""
    left = count_documents(prefix) - first
    with open(prefix.with_name(prefix.name + ".idx"), "rb") as file:
        file.seek(INDEX_HEADER.size + 4 * first)
        return np.fromfile(file, "<i4", left if count is None else min(left, count))


def concatenate(parts: Iterable[Path], prefix: Path, dtype: str) -> None:
    """Join pairs into one, in the order given."""
    lengths = []
    with writing(prefix.with_name(prefix.name + ".bin")) as out:
        for part in parts:
            lengths.append(read_lengths(part))
            with open(part.with_name(part.name + ".bin"), "rb") as file:
                while chunk := file.read(1 << 22):
                    out.write(chunk)
    write_index(prefix, np.concatenate(lengths), np.dtype(dtype))
