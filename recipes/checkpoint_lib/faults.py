"""What is wrong with one checkpoint: files that are missing, empty, cut off, or at odds with each other.

What is not looked at: the tensors' values (there are no checksums), and model/consolidated, which nothing resumes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import contract

from . import regular
from .formats import Damaged, Index, Piece, check_archive, read_archive, read_dcp_index, read_safetensors

_REQUIRED = ("losses.json", "config.yaml", "step_scheduler.pt", "optim/.metadata")
_EXPORT = "consolidated"
_RANK_FILE = re.compile(r"^(.+_rank_)(\d+)\.pt$")
_LIKE_PARAMETER = re.compile(r"^optim\.state\.(.+)\.(?:exp_avg|exp_avg_sq|momentum_buffer)$")
_MOST_NAMED = 3


def find_faults(checkpoint: Path) -> list[str]:
    """Everything that is wrong, one phrase each; empty for a complete checkpoint.

    Raises:
        OSError: The file system would not say; that is not the checkpoint's fault.
    """
    if not checkpoint.is_dir():
        return ["no such directory"]
    if (checkpoint / contract.INCOMPLETE).exists():
        return [f"its save was interrupted ({contract.INCOMPLETE})"]
    return list(_faults(checkpoint))


def in_short(faults: list[str]) -> str:
    """The first few, and how many more there are."""
    more = len(faults) - _MOST_NAMED
    return "; ".join(faults[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _faults(checkpoint: Path) -> Iterator[str]:
    files = _files(checkpoint)
    for name in _REQUIRED:
        if checkpoint / name not in files:
            yield f"{name} is missing"
        elif not name.endswith((".pt", ".metadata")) and (checkpoint / name).stat().st_size == 0:
            yield f"{name} is empty"  # of the others their formats tell
    folders = sorted(entry for entry in checkpoint.iterdir() if entry.is_dir())
    yield from (f"{folder.name}/ is empty" for folder in folders if not any(folder in file.parents for file in files))
    yield from _archive_faults(checkpoint, files)
    yield from _rank_faults(checkpoint, files)
    optimizer = yield from _dcp_faults(checkpoint, files)
    yield from _weight_faults(checkpoint, files, optimizer)


def _files(checkpoint: Path) -> list[Path]:
    found = (path for path in checkpoint.rglob("*") if path.is_file())
    return sorted(path for path in found if _EXPORT not in path.relative_to(checkpoint).parts)


def _archive_faults(checkpoint: Path, files: list[Path]) -> Iterator[str]:
    for file in files:
        if file.suffix != ".pt":
            continue
        try:
            check_archive(file)
            if file == checkpoint / "step_scheduler.pt":
                yield from _step_faults(checkpoint, file)
        except Damaged as damage:
            yield f"{file.relative_to(checkpoint)}: {damage}"


def _step_faults(checkpoint: Path, file: Path) -> Iterator[str]:
    """The name counts steps from 0; the scheduler holds how many are done, at most max_steps."""
    named = contract.CHECKPOINT_STEP.search(checkpoint.name)
    value = read_archive(file)
    done = value.get("step") if isinstance(value, dict) else None
    if not isinstance(done, int):
        yield f"{file.name} names no step"
    elif named is None:
        yield "its directory's name names no step"
    elif done not in (int(named[1]), int(named[1]) + 1):
        yield f"{file.name} is of step {done - 1}, its directory of step {named[1]}"


def _rank_faults(checkpoint: Path, files: list[Path]) -> Iterator[str]:
    groups: dict[Path, set[int]] = {}
    for file in files:
        match = _RANK_FILE.match(file.name)
        if match:
            groups.setdefault(file.parent / match[1], set()).add(int(match[2]))
    for stem, ranks in groups.items():
        missing = sorted(set(range(max(ranks))) - ranks)
        yield from (f"{stem.relative_to(checkpoint)}{rank}.pt is missing" for rank in missing)


def _dcp_faults(checkpoint: Path, files: list[Path]) -> Generator[str, None, Index | None]:
    """Faults of every DCP directory; returns the optimizer's index, where it can be read."""
    found: Index | None = None
    present = set(files)
    for metadata in (file for file in files if file.name == ".metadata"):
        try:
            index = read_dcp_index(metadata)
        except Damaged as damage:
            yield f"{metadata.relative_to(checkpoint)}: {damage}"
            continue
        if metadata.parent.name == "optim":
            found = index
        for name, least in sorted(index.files.items()):
            file = metadata.parent / name
            if file not in present:
                yield f"{file.relative_to(checkpoint)} is missing"
            elif file.stat().st_size < least:
                yield f"{file.relative_to(checkpoint)}: {file.stat().st_size} bytes instead of at least {least}"
    return found


def _weight_faults(checkpoint: Path, files: list[Path], optimizer: Index | None) -> Iterator[str]:
    shards = [file for file in files if file.suffix == ".safetensors"]
    if not shards and not any(file.suffix == ".distcp" and file.parent.name != "optim" for file in files):
        yield "there are no weights in it"
        return
    pieces: dict[str, set[Piece]] = {}
    readable = True
    for shard in shards:
        try:
            for name, piece in read_safetensors(shard).items():
                pieces.setdefault(name, set()).add(piece)
        except Damaged as damage:
            readable = False
            yield f"{shard.relative_to(checkpoint)}: {damage}"
    if shards and readable:  # else its tensors are missing for a reason that is told already
        yield from _coverage_faults(checkpoint, pieces, optimizer)


def _coverage_faults(checkpoint: Path, pieces: dict[str, set[Piece]], optimizer: Index | None) -> Iterator[str]:
    """Tensors that no shard has, or of which a part is missing: shards are missing, though none of them says so."""
    absent = sorted(_expected_names(checkpoint) - set(pieces))
    if absent:
        yield f"{len(absent)} tensors of the model are in no shard, such as {absent[0]}"
    shapes = _parameter_shapes(optimizer)
    partial = sorted(name for name, parts in pieces.items() if _missing_elements(parts, shapes.get(name)) > 0)
    if partial:
        yield f"of {len(partial)} tensors of the model a part is in no shard, such as {partial[0]}"


def _expected_names(checkpoint: Path) -> set[str]:
    """The model's tensors by AutoModel's own list, less an output layer that is the embedding's second name."""
    metadata = checkpoint / "model" / ".hf_metadata"
    try:
        names = set(json.loads(regular.text(metadata / "fqn_to_file_index_mapping.json")))
        config = json.loads(regular.text(metadata / "config.json"))
    except (FileNotFoundError, ValueError):  # no list, as for a model without a transformers class
        return set()
    tied = '"tie_word_embeddings": true' in json.dumps(config)  # of a composite model it stands deeper inside
    return {name for name in names if not (tied and name.endswith("lm_head.weight"))}


def _parameter_shapes(optimizer: Index | None) -> dict[str, tuple[int, ...]]:
    """Full shapes of parameters, from those of the optimizer's moments: a shard knows its own part only."""
    found = ((_LIKE_PARAMETER.match(name), shape) for name, shape in (optimizer.shapes if optimizer else {}).items())
    return {match[1]: shape for match, shape in found if match}


def _missing_elements(pieces: set[Piece], shape: tuple[int, ...] | None) -> int:
    """Without a known full shape, that of the smallest box around the pieces: it shows gaps between them."""
    dimensions = {len(piece.shape) for piece in pieces}
    if len(dimensions) != 1:
        return 0
    corners = [[a + b for a, b in zip(piece.offset, piece.shape)] for piece in pieces]  # noqa: B905 (Python 3.8)
    box = tuple(max(lengths) for lengths in zip(*corners))  # noqa: B905
    if shape is None or len(shape) != len(box):
        shape = box
    return Piece(shape, ()).elements - sum(piece.elements for piece in pieces)
