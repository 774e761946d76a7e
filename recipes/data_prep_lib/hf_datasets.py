"""hf:// datasets -> their data files, which the readers of parquet and JSONL stream.

    hf://ORG/NAME[@REVISION]   on the hub           hf:///DIRECTORY   a dataset's directory here (both slashes and one)

`datasets` says which files a subset and a split have, as load_dataset would; no row passes through it, which is what
makes shards of byte ranges possible: planned in a moment, resumable, and the same for any number of workers. What it
has said is kept below output_dir (.inputs/), with the commit that it was said of: all nodes then plan alike, a run that
is resumed goes on with the same data, and neither it nor one with nothing to do asks the hub.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from data_prep_lib.config import Dataset
from data_prep_lib.errors import InputError
from data_prep_lib.hashes import fingerprint
from data_prep_lib.remote import SCHEME
from data_prep_lib.safe_files import read_json, write_json

_READABLE = (".parquet", ".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
_PATHS_A_REQUEST = 500
# Every file: a local directory's own state takes part in the name of what is kept, so that a change is seen.
Listed = tuple[str, int, str | None]  # path or address, bytes, sha256 where the hub knows it


def list_files(dataset: Dataset, kept: Path) -> list[Listed]:
    """The data files of a dataset's split, in the order of `datasets`."""
    what = [dataset.path, dataset.subset, dataset.split, list(dataset.include), _local_state(dataset)]
    path = kept / f"{dataset.name}-{fingerprint(what)[:12]}.json"
    found = read_json(path)
    if not isinstance(found, list):
        write_once(path, _ask(dataset))
        found = read_json(path)
    return [(str(file), int(size), sha256) for file, size, sha256 in found]


def write_once(path: Path, value: Any) -> None:
    """Write `path` unless another process has: of several at once, all then read what the first has written."""
    own = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
    write_json(own, value)
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()


def _local_state(dataset: Dataset) -> list[Any]:
    """What is in a local dataset's directory now."""
    root = _local(dataset)
    if root is None:
        return []
    if not root.is_dir():
        raise _error(dataset, f"{root} is not a directory")
    found = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in found if p.is_file())


def _local(dataset: Dataset) -> Path | None:
    name = dataset.path.removeprefix(SCHEME)
    return Path(name) if name.startswith("/") else None


def _ask(dataset: Dataset) -> list[Listed]:
    try:
        from datasets import load_dataset_builder  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise _error(dataset, "the package `datasets` is not installed", "pip install datasets") from None
    root = _local(dataset)
    name, _, revision = dataset.path.removeprefix(SCHEME).partition("@") if root is None else (str(root), "", "")
    try:
        builder = load_dataset_builder(name, name=dataset.subset, revision=revision or None)
    except Exception as e:  # FileNotFoundError, ValueError, ConnectionError, and those of huggingface_hub
        raise _error(dataset, _first_line(e)) from None
    splits = {str(split): list(files) for split, files in (builder.config.data_files or {}).items()}
    if dataset.split not in splits:
        raise _error(dataset, f"it has no split {dataset.split!r}", f"splits: {', '.join(splits) or 'none'}")
    files = [f for f in splits[dataset.split] if any(_matches(f, pattern) for pattern in dataset.include)]
    strange = [f for f in files if dataset.format is None and not f.lower().endswith(_READABLE)]
    if strange:
        raise _error(dataset, f"{strange[0]} is neither parquet nor JSONL", "set `format`, or narrow `include`")
    if not files:
        raise _error(dataset, f"no file of split {dataset.split!r} matches include {', '.join(dataset.include)}")
    if root is not None:
        return [(f, os.stat(f).st_size, None) for f in files]  # noqa: PTH116
    try:
        return list(_on_the_hub(files))
    except Exception as e:
        raise _error(dataset, _first_line(e)) from None


def _matches(file: str, pattern: str) -> bool:
    """`include` is matched against the end of the path: below the repository, or below a folder of it."""
    return pattern == "**/*" or fnmatch(file, pattern) or fnmatch(file, f"*/{pattern}")


def _on_the_hub(files: list[str]) -> Iterable[Listed]:
    """Sizes and hashes, for hundreds of files a request."""
    from huggingface_hub import HfApi, HfFileSystem

    resolved: list[Any] = [HfFileSystem().resolve_path(file) for file in files]
    for i in range(0, len(files), _PATHS_A_REQUEST):
        part = resolved[i : i + _PATHS_A_REQUEST]
        first = part[0]
        asked = HfApi().get_paths_info(
            first.repo_id, [p.path_in_repo for p in part], revision=first.revision, repo_type=first.repo_type
        )
        known = {info.path: info for info in asked}
        for path in part:
            info: Any = known[path.path_in_repo]
            address = f"{SCHEME}datasets/{path.repo_id}@{path.revision}/{path.path_in_repo}"
            yield address, int(info.size), info.lfs.sha256 if info.lfs else None


def _first_line(e: Exception) -> str:
    return (str(e) or type(e).__name__).strip().splitlines()[0]


def _error(dataset: Dataset, reason: str, fix: str = "") -> InputError:
    where = f"{dataset.path}{f', subset {dataset.subset}' if dataset.subset else ''}"
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0") or "reach" in reason
    hint = fix or "hf://ORG/NAME (HF_TOKEN for a gated one), or hf:///DIRECTORY for a dataset's directory here"
    if offline and not fix:
        hint = "there is no way to the hub from here: download the dataset elsewhere, and name it as hf:///DIRECTORY"
    return InputError(f"dataset {dataset.name!r}: {where}: {reason}\n  {hint}")
