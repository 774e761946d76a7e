"""How many training tokens lie here: sizes of files and a few bytes of headers, never the data themselves.

Megatron's .idx begins with b"MMIDIDX\\0\\0", a version (<Q) and the code of the tokens' type (<B)
(nemo_automodel, components/datasets/llm/megatron/indexed_dataset.py). A nanoGPT .bin begins with 256 int32, of which
[2] is the number of tokens (components/datasets/llm/nanogpt_dataset.py).
"""

from __future__ import annotations

import glob
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ITEM = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}
_TRAIN_OF_SPLIT = "900,50,50"  # MegatronPretraining's default `split`


@dataclass(frozen=True)
class Part:
    """A prefix or file: its tokens, and its share of the samples."""

    name: str
    tokens: float
    share: float


def megatron(section: Mapping[str, Any]) -> list[Part]:
    """The parts that `paths` of a MegatronPretraining section names for training; none where something is amiss, which
    checks/data.py says.
    """
    paths, whole = section.get("paths"), True
    if isinstance(paths, str) and paths.endswith(".json"):
        paths = _json(Path(paths))
    if isinstance(paths, Mapping):
        paths = paths.get("train")
    else:
        whole = False
    entries = [paths] if isinstance(paths, str) else paths
    if not isinstance(entries, list) or not entries:
        return []
    names, weights = _weighted([str(entry) for entry in entries])
    used = 1.0 if whole else _train_share(section.get("split"))
    sizes = _sizes(names)
    if not sizes or not all(sizes):
        return []
    total = sum(weights) if weights else 0.0
    if weights and total <= 0:
        return []
    all_tokens = sum(sizes)
    return [
        Part(name, size * used, weight / total if weights else size / all_tokens)
        for name, size, weight in zip(names, sizes, weights or [0.0] * len(names), strict=True)
    ]


def _weighted(entries: Sequence[str]) -> tuple[list[str], list[float]]:
    """Names, and weights where they stand between them (megatron_utils.py, get_blend_from_list)."""
    if len(entries) % 2 == 0:
        try:
            return list(entries[1::2]), [float(entry) for entry in entries[::2]]
        except ValueError:
            pass
    return list(entries), []


def _train_share(split: Any) -> float:
    """The training part of a `split` like "900,50,50"."""
    try:
        parts = [float(part) for part in str(split or _TRAIN_OF_SPLIT).split(",")]
        return parts[0] / sum(parts)
    except (ValueError, ZeroDivisionError):
        return 1.0


def _sizes(names: Sequence[str]) -> list[int]:
    """Tokens of each prefix; the type is read from the first, since one tokenizer made them all."""
    try:
        with open(f"{names[0]}.idx", "rb") as file:
            head = file.read(18)
        item = _ITEM[struct.unpack("<B", head[17:18])[0]] if head[:9] == b"MMIDIDX\0\0" else 0
        return [Path(f"{name}.bin").stat().st_size // item for name in names]
    except (OSError, KeyError, struct.error, ZeroDivisionError):
        return []


def nanogpt(pattern: Any) -> list[Part]:
    """The files that a pattern, or a list of files, matches here."""
    patterns = pattern if isinstance(pattern, list) else [pattern]
    files = sorted({file for one in patterns for file in glob.glob(str(one))})  # noqa: PTH207 (as AutoModel reads it)
    try:
        sizes = [_header(Path(file)) for file in files]
    except (OSError, struct.error):
        return []
    total = sum(sizes)
    return [Part(file, size, size / total) for file, size in zip(files, sizes, strict=True)] if all(sizes) else []


def _header(path: Path) -> int:
    with path.open("rb") as file:
        return int(struct.unpack("<3i", file.read(12))[2])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
