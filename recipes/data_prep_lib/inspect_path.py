"""A path -> the sets of files behind it, each examined: a pair, a shard, a blend.json or an output of data-prep."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep_lib import inspect_bin, inspect_pair, schema
from data_prep_lib.errors import InputError
from data_prep_lib.inspect_found import Expected, Found
from data_prep_lib.nanogpt import index_path
from data_prep_lib.safe_files import read_json

_ALIASES = {"validation": "valid", "val": "valid", "dev": "valid"}


@dataclass
class Inspection:
    """All that was found at `path`; `record` is data-prep's record.json of it, or empty."""

    path: str
    record: dict[str, Any] = field(default_factory=dict)
    files: list[Found] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return bool(self.damage) or any(found.damage for found in self.files)


def inspect(path: Path, expected: Expected) -> Inspection:
    """`expected` holds what the command line says; data-prep's record.json, where there is one, adds the rest.

    Raises:
        InputError: there is nothing at `path` that could be looked at.
    """
    path = schema.path("PATH", str(path))
    if path.is_dir() and (path / "latest").is_dir():
        path = path / "latest"  # the stable name of the newest output below an output_dir
    inspection = Inspection(str(path), _record(path))
    if path.is_dir():
        _directory(inspection, path, expected)
    elif path.suffix == ".json" and path.is_file():
        _blend(inspection, path, expected)
    else:
        inspection.files.append(_one(path, _known(inspection.record, expected)))
    return inspection


def _record(path: Path) -> dict[str, Any]:
    for directory in [path, path.parent, path.parent.parent]:
        record = read_json(directory / "record.json") if directory.is_dir() else None
        if isinstance(record, dict) and "tokenizer" in record:
            return record
    return {}


def _known(record: dict[str, Any], expected: Expected) -> Expected:
    tokenizer = record.get("tokenizer", {})
    return replace(
        expected,
        vocab_size=expected.vocab_size or tokenizer.get("vocab_size"),
        bos_id=expected.bos_id if expected.bos_id is not None else tokenizer.get("bos_id"),
        dtype=record.get("dtype"),
    )


def _one(path: Path, expected: Expected) -> Found:
    """A pair by its prefix, its .bin or its .idx; a shard by its .bin or its .bos.idx."""
    if path.name.endswith(".bos.idx"):
        path = path.with_name(path.name[: -len(".bos.idx")] + ".bin")
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    tokens, idx = (prefix.with_name(prefix.name + end) for end in (".bin", ".idx"))
    if tokens.is_file() and (inspect_bin.is_shard(tokens) or index_path(tokens).is_file()):
        return inspect_bin.examine(tokens, expected)
    if tokens.is_file() or idx.is_file():
        return inspect_pair.examine(prefix, expected)
    raise InputError(
        f"{path}: nothing that could be inspected\n"
        "  valid: an output directory, a blend.json, a bin/idx pair (its prefix or a file of it), or a nanoGPT .bin"
    )


# --- an output of data-prep, or any directory


def _directory(inspection: Inspection, path: Path, expected: Expected) -> None:
    known = _known(inspection.record, expected)
    if (path / ".data_prep").is_dir() and not (path / "record.json").is_file():
        inspection.damage.append(f"{path} is not finished: no record.json\n  run data-prep again to go on")
    if "output" in inspection.record:
        _listed(inspection, path, known)
    elif (path / "blend.json").is_file():
        _blend(inspection, path / "blend.json", expected)
    else:
        hidden = path / ".data_prep"
        files = sorted(p for p in path.rglob("*") if p.suffix in (".bin", ".idx") and hidden not in p.parents)
        for prefix in dict.fromkeys(p.with_name(p.name.removesuffix(".bos.idx")).with_suffix("") for p in files):
            inspection.files.append(_one(prefix.with_name(prefix.name + ".bin"), known))
    if not inspection.files and not inspection.damage:
        raise InputError(f"{path}: no blend.json, no .bin and no .idx file in it")
    _compare(inspection)


def _listed(inspection: Inspection, path: Path, known: Expected) -> None:
    """The nanoGPT files that record.json lists, and others that a glob would read with them."""
    for split, entries in inspection.record["output"].items():
        for entry in entries:
            found = inspect_bin.examine(path / entry["file"], known)
            found.split = split
            if found.tokens is not None and found.tokens != entry["tokens"]:
                found.damage.append(f"{found.tokens} tokens; record.json says {entry['tokens']}")
            if found.tokens is not None and not index_path(path / entry["file"]).is_file():
                found.damage.append("missing: its .bos.idx")
            inspection.files.append(found)
        names = {path / entry["file"] for entry in entries}
        for other in sorted(set((path / split).glob("*.bin")) - names):
            inspection.damage.append(f"{other} is not in record.json, and a glob of {split}/*.bin reads it too")


def _compare(inspection: Inspection) -> None:
    """Totals of the splits against the record's: a shard may be missing from blend.json."""
    for split in ("train", "valid", "test"):
        of_split = [found for found in inspection.files if found.split == split]
        for what in ("tokens", "documents"):
            counts = inspection.record.get("counts", {}).values()
            want = sum(numbers[split][what] for numbers in counts)
            have = [getattr(found, what) for found in of_split]
            if inspection.record and None not in have and sum(have) != want:
                inspection.damage.append(f"{split}: {sum(have)} {what} in {len(have)} files; record.json says {want}")


# --- blend.json


def _blend(inspection: Inspection, path: Path, expected: Expected) -> None:
    try:
        blend = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        inspection.damage.append(f"{path} cannot be read as JSON: {e}")
        return
    splits = {None: blend} if isinstance(blend, list) else blend
    if not isinstance(splits, dict) or not splits:
        inspection.damage.append(f"{path}: neither splits nor a list of prefixes stand in it")
        return
    for split, entries in splits.items():
        if not isinstance(entries, list) or not entries:
            inspection.damage.append(f"{path}: {split}: a list that is not empty is wanted, not {entries!r}")
            continue
        for weight, prefix in _entries(inspection, f"{path}: {split}", entries):
            if not Path(prefix).is_absolute():
                inspection.damage.append(f"{path}: {split}: {prefix} is relative: found only where the job runs")
            found = inspect_pair.examine(Path(prefix), _known(inspection.record or _record(Path(prefix)), expected))
            found.split, found.weight = _ALIASES.get(str(split), split), weight
            inspection.files.append(found)


def _entries(inspection: Inspection, where: str, entries: list[Any]) -> list[tuple[float | None, str]]:
    """(weight, prefix) of a list of prefixes, or of weights and prefixes in turn."""
    weights = [_number(entry) for entry in entries[::2]]
    if weights[0] is None:
        return [(None, str(entry)) for entry in entries]
    if len(entries) % 2 or None in weights:
        inspection.damage.append(f"{where}: weights and prefixes do not stand in turn")
        return []
    if any(weight <= 0 for weight in weights if weight is not None):
        inspection.damage.append(f"{where}: a weight that is not above 0")
    return list(zip(weights, map(str, entries[1::2]), strict=True))


def _number(entry: Any) -> float | None:
    try:
        return float(entry)
    except (TypeError, ValueError):
        return None
