"""A receipt says that a shard is done, what made it and how large its files are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_prep_lib.layout import SPLITS, Layout
from data_prep_lib.safe_files import read_json, write_json

ASSEMBLED = "assembled"
"""Name of the receipt of all nanoGPT files together."""


def write(layout: Layout, name: str, made_by: str, files: Iterable[Path], **facts: Any) -> dict[str, Any]:
    sizes = {path.relative_to(layout.root).as_posix(): path.stat().st_size for path in files}
    receipt = {"made_by": made_by, "files": sizes, **facts}
    write_json(layout.receipt(name), receipt)
    return receipt


def read(layout: Layout, name: str, made_by: str, without_parts: bool = False) -> dict[str, Any] | None:
    """The receipt, if of this origin and its files are there in full (`without_parts`: parts are joined already)."""
    receipt = read_json(layout.receipt(name))
    if not isinstance(receipt, dict) or receipt.get("made_by") != made_by:
        return None
    parts = tuple(f".data_prep/parts/{split}/" for split in SPLITS)
    for path, size in receipt["files"].items():
        if not (without_parts and path.startswith(parts)) and _size(layout.root / path) != size:
            return None
    return receipt


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
