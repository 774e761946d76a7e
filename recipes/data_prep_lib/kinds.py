"""What is in a file, by its name: one of the formats that are read, or why it is none of them.

A suffix that nobody here knows is no text: a `part-00000` of JSONL would become one document, and a CSV too.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from data_prep_lib.config import Dataset
from data_prep_lib.errors import InputError

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_KINDS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex"), "text"),
}
_TO_PARQUET = "write it as parquet or JSONL, e.g. with `datasets` or pyarrow"
_PACKED = "use gzip, zstd, bzip2 or xz"
_REFUSED = {
    **dict.fromkeys((".arrow", ".feather", ".ipc"), ("Arrow", _TO_PARQUET)),
    **dict.fromkeys((".csv", ".tsv"), ("CSV", _TO_PARQUET)),
    **dict.fromkeys((".orc", ".avro"), ("ORC or Avro", _TO_PARQUET)),
    **dict.fromkeys((".tar", ".tgz", ".zip", ".7z", ".rar"), ("an archive", "unpack it")),
    **dict.fromkeys((".lz4", ".sz", ".snappy", ".br", ".z", ".lzo"), ("compressed in a way that is not read", _PACKED)),
    **dict.fromkeys((".warc", ".wet", ".wat"), ("WARC", "extract its text first, e.g. with datatrove or NeMo Curator")),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".epub"), ("a document with a layout", "extract its text first")),
}  # fmt: skip
# What lies beside data and is none. It counts as data where there is nothing else.
_SIDE = (
    *("readme*", "license*", "licence*", "copying*", "notice*", "citation*", "changelog*", "authors*", "_success"),
    *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "*.sha256", "*.sha1", "*.md5"),
    *("*sums", "*sums.txt", "*.crc", "manifest.json"),
)


def kind_of(path: str) -> str | None:
    """jsonl, parquet or text, by the suffix; that of a compressed file is looked through. None: it says nothing."""
    return _KINDS.get(_suffix(path))


def is_side_file(path: str) -> bool:
    """A README, a licence, checksums, what `datasets` writes beside its data."""
    name = Path(path).name.lower()
    return any(fnmatch(name, pattern) for pattern in _SIDE)


def settle(dataset: Dataset, paths: Sequence[str], named: bool) -> tuple[str, list[str], list[str]]:
    """(the format, the files that have it, notes on those that are left out).

    `named`: the path names the files themselves, one or a glob, and is no directory. A format that is given then holds
    for all of them.

    Raises:
        InputError: files of several formats, or of none.
    """
    if dataset.format and (named or dataset.format == "text"):
        return dataset.format, list(paths), []
    data, side = _apart(paths, dataset.format)
    if dataset.format:
        return dataset.format, *_of_format(dataset.format, data, side)
    for path in data:
        if kind_of(path) is None:
            raise _no_kind(dataset, path)
    kinds = sorted({str(kind_of(path)) for path in data})
    if len(kinds) > 1:
        raise InputError(
            f"dataset {dataset.name!r}: {dataset.path} holds {' and '.join(kinds)} files\n"
            "  set its `format` (jsonl, parquet or text), or narrow its `path` or `include`"
        )
    return kinds[0], data, _left_out(side, "no data")


def _apart(paths: Sequence[str], wanted: str | None) -> tuple[list[str], list[str]]:
    """Data and side files; a side file of the data's own format is data, as in a tree of Markdown."""
    side = [path for path in paths if is_side_file(path)]
    if not side or len(side) == len(paths):
        return list(paths), []
    others = set(paths) - set(side)
    kinds = {wanted} if wanted else {kind_of(path) for path in others}
    side = [path for path in side if kind_of(path) not in kinds or kind_of(path) != "text"]
    return [path for path in paths if path not in set(side)], side


def _of_format(wanted: str, data: list[str], side: list[str]) -> tuple[list[str], list[str]]:
    """The files below a directory whose suffix does not say another format than the one that is given."""
    others = [path for path in data if kind_of(path) not in (wanted, None) or _refused(path)]
    kept = [path for path in data if path not in set(others)]
    return kept, [*_left_out(side, "no data"), *_left_out(others, f"not {wanted}")]


def _left_out(paths: list[str], why: str) -> list[str]:
    if not paths:
        return []
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return [f"{paths[0]}{more}: left out, as {'they are' if more else 'it is'} {why}"]


def _no_kind(dataset: Dataset, path: str) -> InputError:
    if refused := _refused(path):
        what, fix = refused
        return InputError(f"dataset {dataset.name!r}: {path} is {what}, which is not read\n  {fix}")
    looks = _looks_like(path)
    return InputError(
        f"dataset {dataset.name!r}: the name of {path} does not say what is in it{looks}\n"
        "  set its `format` (jsonl, parquet or text: a document a file), or narrow its `path` or `include`"
    )


def _refused(path: str) -> tuple[str, str] | None:
    return _REFUSED.get(_suffix(path)) or _REFUSED.get(Path(path.lower()).suffix)


def _looks_like(path: str) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
    except OSError:
        return ""
    if start.startswith(b"PAR1"):
        return "; it looks like parquet"
    return "; it looks like JSONL" if start.startswith(b"{") else ""


def _suffix(path: str) -> str:
    name = Path(path.lower())
    return Path(name.stem).suffix if name.suffix in COMPRESSED else name.suffix
