"""A nanoGPT .bin shard with its .bos.idx, looked at from the first byte to the last. nanogpt.py has the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep_lib.inspect_found import Expected, Found, check_dtype, check_ids, head, read_items, size_error
from data_prep_lib.nanogpt import HEADER_BYTES, LEGACY_MAGIC, MAGIC, VERSION, index_path

_MAPPED = 8192  # positions looked up in one mapping of the file: 32 MB of pages at most


def is_shard(path: Path) -> bool:
    """The file begins as a nanoGPT shard does."""
    return int.from_bytes(_start(path)[:4], "little") in (MAGIC, LEGACY_MAGIC)


def examine(path: Path, expected: Expected) -> Found:
    found = Found(str(path), "nanogpt")
    if not path.is_file():
        found.damage.append("missing")
        return found
    itemsize = _header(found, path)
    if itemsize is None or found.tokens is None:
        return found
    check_dtype(found, expected)
    size = path.stat().st_size
    there = min(found.tokens, max(0, size - HEADER_BYTES) // itemsize)
    if size != HEADER_BYTES + found.tokens * itemsize:
        found.damage.append(size_error("its header", size, found.tokens, itemsize, HEADER_BYTES))
    if found.tokens == 0:
        found.damage.append(
            "its header says 0 tokens, as a writer leaves it that was killed; NanogptDataset never ends"
        )
    check_ids(found, path, f"<u{itemsize}", HEADER_BYTES, there, expected)
    starts = _starts(found, path, itemsize, there, expected)
    for start, end in starts:
        found.first.append(head(path, f"<u{itemsize}", HEADER_BYTES + start * itemsize, end - start))
    return found


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _header(found: Found, path: Path) -> int | None:
    """Bytes a token."""
    if path.stat().st_size < HEADER_BYTES:
        found.damage.append(f"truncated: {path.stat().st_size} bytes are less than its header of {HEADER_BYTES}")
        return None
    magic, version, tokens, itemsize = (int(i) for i in np.frombuffer(_start(path), "<i4"))
    if magic not in (MAGIC, LEGACY_MAGIC) or version != VERSION:
        found.damage.append(f"not a nanoGPT shard: its header begins with {magic}, {version}, not {MAGIC}, {VERSION}")
        return None
    itemsize = 2 if magic == LEGACY_MAGIC else itemsize
    if itemsize not in (2, 4) or tokens < 0:
        found.damage.append(f"its header says {tokens} tokens of {itemsize} bytes; there are 2 and 4 bytes")
        return None
    found.tokens, found.dtype = tokens, f"uint{8 * itemsize}"
    return itemsize


def _starts(found: Found, path: Path, itemsize: int, tokens: int, expected: Expected) -> list[tuple[int, int]]:
    """Check .bos.idx against the tokens; (start, end) of the first documents."""
    index = index_path(path)
    if not index.is_file():
        found.notes.append(f"no {index.name}: with align_to_bos AutoModel searches every token for BOS")
        return [(0, tokens)] if tokens else []
    if index.stat().st_size % 4:
        found.damage.append(f"{index.name} is truncated: {index.stat().st_size} bytes are not complete int32 numbers")
    count = index.stat().st_size // 4
    shown: list[int] = []
    found.longest, last, on_bos = 0, -1, None
    for at, positions in read_items(index, "<i4", 0, count):
        positions = positions.astype(np.int64)
        steps = np.diff(positions, prepend=last)
        if int(positions[-1]) >= tokens or (steps <= 0).any():
            found.damage.append(f"{index.name}: positions from entry {at} on do not rise within 0 to {tokens - 1}")
            found.damage += _bytes_instead(index, path, itemsize, tokens)
            return []
        if at == 0 and positions[0] != 0:
            found.damage.append(f"{index.name}: the first position is {positions[0]}; the first document begins at 0")
        found.longest = max(found.longest, int(steps[1 if at == 0 else 0 :].max(initial=0)))
        last = int(positions[-1])
        shown += positions[: expected.documents + 1 - len(shown)].tolist()
        here = _ids_at(path, itemsize, positions)
        on_bos = int(here[0]) if on_bos is None else on_bos
        wrong = here != (expected.bos_id if expected.bos_id is not None else on_bos)
        if wrong.any():
            i = int(wrong.argmax())
            want = f"not BOS, {expected.bos_id}" if expected.bos_id is not None else f"the first one is on {on_bos}"
            found.damage.append(
                f"{index.name}: {int(wrong.sum())} positions are not on BOS tokens; "
                f"entry {at + i}, position {positions[i]}, is on id {here[i]}, {want}"
            )
            found.damage += _bytes_instead(index, path, itemsize, tokens)
            return []
    found.documents = count
    found.longest = max(found.longest, tokens - last) if count else None
    ends = [*shown[1:], tokens]
    return list(zip(shown, ends, strict=True))[: expected.documents] if count else []


def _ids_at(path: Path, itemsize: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The ids at some positions. Mapped again each time: the pages that were touched would all stay in memory."""
    found = []
    for i in range(0, len(positions), _MAPPED):
        mapped = np.memmap(path, f"<u{itemsize}", "r", HEADER_BYTES)
        found.append(mapped[positions[i : i + _MAPPED]].astype(np.int64))
        del mapped
    return np.concatenate(found)


def _bytes_instead(index: Path, path: Path, itemsize: int, tokens: int) -> list[str]:
    """What AutoModel's own tool writes: file offsets in bytes, header included or not."""
    offsets = np.fromfile(index, "<i4", 1000).astype(np.int64)
    for before in (HEADER_BYTES, 0):
        positions = (offsets - before) // itemsize
        fits = ((offsets - before) % itemsize == 0).all() and positions[0] == 0 and (positions < tokens).all()
        if fits and len(np.unique(_ids_at(path, itemsize, positions))) == 1:
            return [f"{index.name} holds byte offsets (as nanogpt_data_processor.py writes them), not token positions"]
    return []
