"""A Megatron bin/idx pair, looked at from the first byte to the last. megatron.py has the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep_lib.inspect_found import CHUNK, Expected, Found, check_dtype, check_ids, head, read_items, size_error
from data_prep_lib.megatron import INDEX_HEADER, INDEX_MAGIC

# All that Megatron's DType names; data-prep writes uint16 and int32.
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}


def examine(prefix: Path, expected: Expected) -> Found:
    found = Found(str(prefix), "megatron")
    idx, tokens = (prefix.with_name(prefix.name + end) for end in (".idx", ".bin"))
    missing = [path.name for path in (idx, tokens) if not path.is_file()]
    if missing:
        found.damage.append(f"missing: {' and '.join(missing)}")
        return found
    sequences = _header(found, idx)
    if sequences is None or found.dtype is None:
        return found
    itemsize = np.dtype(found.dtype).itemsize
    check_dtype(found, expected)
    starts = _lengths(found, idx, sequences, itemsize, expected.documents)
    _document_index(found, idx, sequences)
    if found.tokens is None:
        return found
    size = tokens.stat().st_size
    if size != found.tokens * itemsize:
        found.damage.append(size_error(".idx", size, found.tokens, itemsize))
    dtype = np.dtype(found.dtype).newbyteorder("<")
    if dtype.kind == "f":
        found.damage.append(f"dtype {found.dtype}: token ids are whole numbers")
        return found
    check_ids(found, tokens, dtype, 0, min(found.tokens, size // itemsize), expected)
    found.first = [head(tokens, dtype, start * itemsize, length) for start, length in starts]
    return found


def _header(found: Found, idx: Path) -> int | None:
    """Number of sequences, if the .idx is one and long enough."""
    size = idx.stat().st_size
    with open(idx, "rb") as file:
        raw = file.read(INDEX_HEADER.size)
    if len(raw) < INDEX_HEADER.size:
        found.damage.append(f".idx is truncated: {size} bytes are less than its header of {INDEX_HEADER.size}")
        return None
    magic, version, code, sequences, documents = INDEX_HEADER.unpack(raw)
    if magic != INDEX_MAGIC or version != 1:
        found.damage.append(f".idx is not a Megatron index of version 1: it begins with {raw[:17]!r}")
        return None
    found.dtype = _DTYPES.get(code)
    found.documents = documents - 1
    if found.dtype is None:
        found.damage.append(f".idx has the dtype code {code}; there are {min(_DTYPES)} to {max(_DTYPES)}")
    need = INDEX_HEADER.size + 12 * sequences + 8 * documents
    if size != need:
        state = "truncated" if size < need else "too long"
        found.damage.append(
            f".idx is {state}: {size} bytes; {sequences} sequences and {documents - 1} documents: {need}"
        )
    return int(sequences) if size >= need else None


def _lengths(found: Found, idx: Path, sequences: int, itemsize: int, shown: int) -> list[tuple[int, int]]:
    """Total and longest; (first token, length) of the first sequences. Each must begin where the one before ends."""
    total, longest = 0, 0
    starts: list[tuple[int, int]] = []
    lengths = read_items(idx, "<i4", INDEX_HEADER.size, sequences)
    pointers = read_items(idx, "<i8", INDEX_HEADER.size + 4 * sequences, sequences)
    for (at, part), (_, bytes_) in zip(lengths, pointers, strict=True):
        if int(part.min()) < 0:
            found.damage.append(f".idx: sequence {at + int(part.argmin())} has a length of {part.min()}")
            return []
        ends = total + np.cumsum(part, dtype=np.int64)
        wrong = (ends - part) * itemsize != bytes_
        if wrong.any():
            i = int(wrong.argmax())
            want = int(ends[i] - part[i]) * itemsize
            found.damage.append(f".idx: sequence {at + i} begins at byte {bytes_[i]}, the one before ends at {want}")
        if len(starts) < shown:
            more = slice(0, shown - len(starts))
            starts += list(zip((ends - part)[more].tolist(), part[more].tolist(), strict=True))
        total, longest = int(ends[-1]), max(longest, int(part.max()))
    found.tokens, found.longest = total, longest
    return starts


def _document_index(found: Found, idx: Path, sequences: int) -> None:
    """Megatron's document indices rise from 0 to the number of sequences."""
    last = 0
    count = (found.documents or 0) + 1
    for at, part in read_items(idx, "<i8", INDEX_HEADER.size + 12 * sequences, count):
        if (at == 0 and part[0] != 0) or part[0] < last or (np.diff(part) < 0).any():
            found.damage.append(f".idx: the document indices from {at} to {at + CHUNK} do not rise from 0")
            return
        last = int(part[-1])
    if last != sequences:
        found.damage.append(f".idx: the document indices end at {last}; there are {sequences} sequences")
