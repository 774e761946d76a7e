"""The tokenized parts of all shards -> nanoGPT files, whose number follows the readers and not the input's shards.

Readers take whatever a glob finds. So the files are written in a directory of their own, each with its receipt (a run
that was killed here goes on with those that are missing), and a split gets its name when all its files are there. One
more receipt lists them all, and after that the parts are removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep_lib import held_out, receipts
from data_prep_lib.blocks import Block, blocks_of, deal, interleave
from data_prep_lib.errors import InputError, RefusedError
from data_prep_lib.layout import SPLITS, Layout, pair
from data_prep_lib.megatron import read_lengths
from data_prep_lib.nanogpt import DTYPES, HEADER_BYTES, MAX_TOKENS, index_path, number_of_files, write_file
from data_prep_lib.progress import room
from data_prep_lib.safe_files import remove_leftovers, sync_directory
from data_prep_lib.shards import Shard

_CHUNK = 4 << 20


def assemble(layout: Layout, work: Sequence[tuple[Shard, str]], dtype: str, ranks: int | None) -> dict[str, Any]:
    """Write all files of all splits, then their common receipt; its `listing` is for the record."""
    origin, itemsize = held_out.made_by(work), np.dtype(dtype).itemsize
    files = {
        layout.staged(split) / f"{split}_{k:05d}.bin": blocks
        for split in SPLITS
        for k, blocks in enumerate(_plan(layout, split, [shard for shard, _ in work], ranks))
    }
    for split in SPLITS:  # of a killed run; where many nodes work, each removes those of its own shards only
        remove_leftovers(layout.staged(split))
    missing = [path for path in files if receipts.read(layout, _receipt(path), origin) is None]
    _check_room(layout, [files[path] for path in missing], itemsize)
    for path in missing:
        blocks = files[path]
        write_file(path, sum(b.tokens for b in blocks), itemsize, ((_bytes(b, itemsize), _lengths(b)) for b in blocks))
        receipts.write(layout, _receipt(path), origin, [path, index_path(path)])
    for split in reversed(SPLITS):
        _publish(layout, split)
    final = {path: layout.root / path.parent.name / path.name for path in files}
    listing: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for path, blocks in files.items():
        numbers = {"tokens": sum(b.tokens for b in blocks), "documents": sum(b.documents for b in blocks)}
        listing[path.parent.name].append({"file": final[path].relative_to(layout.root).as_posix(), **numbers})
    written = [file for path in final.values() for file in (path, index_path(path))]
    return receipts.write(layout, receipts.ASSEMBLED, origin, written, listing=listing, dtype=DTYPES[dtype])


def _plan(layout: Layout, split: str, shards: Sequence[Shard], ranks: int | None) -> list[list[Block]]:
    """The blocks of each file of a split; none for a split without documents."""
    sources: dict[str, list[Path]] = {}
    for shard in shards:
        if pair(prefix := layout.prefix(split, shard)):
            sources.setdefault(shard.dataset, []).append(prefix)
    blocks = interleave([blocks_of(parts) for parts in sources.values()])
    if not blocks:
        return []
    tokens = sum(block.tokens for block in blocks)
    # NanogptDataset cannot read a validation split to its end; one file suits every other reader
    count = number_of_files(tokens, ranks if split == "train" else None)
    files = deal(blocks, count)
    largest, smallest = (f(sum(b.tokens for b in file) for file in files) for f in (max, min))
    if not smallest or largest > MAX_TOKENS:
        documents = sum(block.documents for block in blocks)
        what = f"a file of {largest} tokens" if smallest else "files without a document"
        raise InputError(
            f"ranks: {ranks}: {documents} documents of {tokens} tokens make no {count} {split} files: {what}\n"
            f"  valid: files of complete documents, at most {MAX_TOKENS} tokens each; for little data leave `ranks` out"
        )
    return files


def _receipt(path: Path) -> str:
    return f"files/{path.stem}"


def _lengths(block: Block) -> Any:
    return read_lengths(block.part, block.first, block.documents)


def _bytes(block: Block, itemsize: int) -> Iterator[bytes]:
    left = block.tokens * itemsize
    with open(block.part.with_name(block.part.name + ".bin"), "rb", buffering=0) as file:
        file.seek(block.start * itemsize)
        while left and (chunk := file.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk


def _check_room(layout: Layout, files: Sequence[Sequence[Block]], itemsize: int) -> None:
    """The parts stay until all files are written: what the files take is known to the byte."""
    need = sum(HEADER_BYTES + sum(b.tokens * itemsize + 4 * b.documents for b in file) for file in files)
    free = shutil.disk_usage(layout.root).free
    if free < need:
        raise RefusedError(
            f"output_dir: {layout.root} has {room(free)} free; the {len(files)} files that are still to be "
            f"written from the tokenized parts take {room(need)}\n"
            "  free space and run the same command again; what is tokenized is kept"
        )


def _publish(layout: Layout, split: str) -> None:
    """Give a split's directory its name: all its files appear at once."""
    staged, final = layout.staged(split), layout.root / split
    for stale in final.glob(f"{split}_*"):  # of an output that was damaged since: a glob would catch them
        stale.unlink()
    if final.exists():
        final.rmdir()
    if staged.exists():
        staged.rename(final)
        sync_directory(layout.root)
