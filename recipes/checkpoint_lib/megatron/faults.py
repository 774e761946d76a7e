"""What is wrong with one checkpoint: files that are missing, empty or cut off. Tensors have no checksums."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import contract

from .. import regular
from ..formats import Damaged, check_archive, read_dcp_index

TRAIN_STATE = "train_state.pt"
_METADATA = ".metadata"
_RUN_CONFIG = "run_config.yaml"
_FORMAT = "metadata.json"
_COMMON = "common.pt"


def iteration(checkpoint: Path) -> int | None:
    """The number of iterations that the directory's name tells; None where it is no checkpoint's."""
    found = contract.MEGATRON_CHECKPOINT.fullmatch(checkpoint.name)
    return int(found.group(1)) if found else None


def is_interrupted(checkpoint: Path) -> bool:
    """Whether its save did not come to an end: the state is what is written when everything else is there."""
    return not (checkpoint / TRAIN_STATE).exists()


def find_faults(checkpoint: Path) -> list[str]:
    """Everything that is wrong, one phrase each; empty for a complete checkpoint.

    Raises:
        OSError: The file system would not say; that is not the checkpoint's fault.
    """
    if not checkpoint.is_dir():
        return ["no such directory"]
    if is_interrupted(checkpoint):
        return [f"its save was interrupted (there is no {TRAIN_STATE})"]
    return list(_faults(checkpoint))


def _faults(checkpoint: Path) -> Iterator[str]:
    yield from _tensor_faults(checkpoint)
    yield from _archive_faults(checkpoint, TRAIN_STATE)
    if (checkpoint / _FORMAT).exists():  # ckpt_format fsdp_dtensor has neither of these
        yield from _format_faults(checkpoint)
        yield from _archive_faults(checkpoint, _COMMON)
    elif (checkpoint / _COMMON).exists():
        yield f"{_FORMAT} is missing"
    config = checkpoint / _RUN_CONFIG
    if not config.is_file():
        yield f"{_RUN_CONFIG} is missing"
    elif "\ntrain:" not in config.read_text(encoding="utf-8", errors="replace"):  # its keys are sorted
        yield f"{_RUN_CONFIG} is cut off"


def _tensor_faults(checkpoint: Path) -> Iterator[str]:
    metadata = checkpoint / _METADATA
    if not metadata.is_file():
        yield f"{_METADATA} is missing"
        return
    try:
        index = read_dcp_index(metadata)
    except Damaged as damage:
        yield f"{_METADATA}: {damage}"
        return
    for name, least in sorted(index.files.items()):
        file = checkpoint / name
        if not file.is_file():
            yield f"{name} is missing"
        elif file.stat().st_size < least:
            yield f"{name}: {file.stat().st_size} bytes instead of at least {least}"


def _archive_faults(checkpoint: Path, name: str) -> Iterator[str]:
    try:
        check_archive(checkpoint / name)
    except FileNotFoundError:
        yield f"{name} is missing"
    except Damaged as damage:
        yield f"{name}: {damage}"


def _format_faults(checkpoint: Path) -> Iterator[str]:
    try:
        content = json.loads(regular.text(checkpoint / _FORMAT))
    except (FileNotFoundError, ValueError):  # a pipe is no file either
        content = None
    if not isinstance(content, dict) or "sharded_backend" not in content:
        yield f"{_FORMAT} is cut off, or not a checkpoint's"
