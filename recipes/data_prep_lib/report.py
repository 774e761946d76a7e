"""record.json (what was made, of what, by what) and the closing table."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from data_prep_lib.config import SPLITS, Config
from data_prep_lib.inputs import Source
from data_prep_lib.progress import short
from data_prep_lib.shards import Shard
from data_prep_lib.vocab import TokenizerFiles, Vocab

_LIBRARIES = ("tokenizers", "fastokens", "gigatoken", "numpy", "pyarrow", "zstandard", "orjson", "obstore")
Counts = dict[str, dict[str, dict[str, int]]]


def count(shards: Sequence[Shard], receipts: Mapping[str, Any]) -> Counts:
    """dataset -> split -> {documents, tokens, bytes (of text, UTF-8)}."""
    counts: Counts = {}
    for shard in shards:
        mine = counts.setdefault(shard.dataset, {s: {"documents": 0, "tokens": 0, "bytes": 0} for s in SPLITS})
        for split, numbers in receipts[shard.name]["counts"].items():
            for what, number in numbers.items():
                mine[split][what] += number
    return counts


def make_record(
    config: Config, files: TokenizerFiles, vocab: Vocab, sources: Sequence[Source], counts: Counts, **facts: Any
) -> dict[str, Any]:
    return {
        "tokenizer": {
            "name": files.name,
            "path": files.path,
            "sha256": files.sha256,
            "vocab_size": vocab.size,
            "eos_id": vocab.eos_id,
            "bos_id": vocab.bos_id,
        },
        "dtype": vocab.dtype,
        "sources": [
            {
                "name": source.dataset.name,
                "weight": source.dataset.weight,
                "format": source.format,
                "bytes": source.size,
                "files": [{"path": file.path, "bytes": file.size} for file in source.files],
            }
            for source in sources
        ],
        "counts": counts,
        **facts,
        "config": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table(counts: Counts) -> str:
    """Tokens, documents, bytes and share of the tokens, by dataset and split."""
    total = sum(numbers["tokens"] for splits in counts.values() for numbers in splits.values()) or 1
    rows = [("dataset", "split", "tokens", "documents", "bytes", "share")]
    for name, splits in counts.items():
        for split, numbers in splits.items():
            if numbers["documents"]:
                values = (short(numbers[what]) for what in ("tokens", "documents", "bytes"))
                rows.append((name, split, *values, f"{100 * numbers['tokens'] / total:.1f} %"))  # type: ignore[arg-type]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([*map(str.ljust, row[:2], widths), *map(str.rjust, row[2:], widths[2:])]) for row in rows
    )
