"""How many training tokens the data hold, from sizes of files and headers; the data are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.automodel import datasets
from automodel_launch.backends.automodel.data.request import kind_of_paths
from automodel_launch.backends.data import probe
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.config import dotted

_ITEM = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}  # bytes of an id, by the type in an .idx
_TRAIN_OF_SPLIT = "900,50,50"  # MegatronPretraining's default `split`


@dataclass(frozen=True)
class Part:
    """A prefix or file: its tokens, and its share of the samples."""

    name: str
    tokens: float
    share: float


def of_training(config: Mapping[str, Any], data: DataFacts) -> list[Part]:
    """The parts of the section `dataset`; none where they are not known here."""
    for key, kind, section in datasets.datasets(config):
        if key == "dataset" and not dotted.left_to_the_job(section):
            if datasets.NANOGPT_DATASET in kind:
                return nanogpt(section.get("file_pattern"), data)
            return megatron(section, data)
    return []


def most_read(parts: Sequence[Part], wanted: int) -> Part:
    """The part that a training on `wanted` tokens reads most often."""
    return max(parts, key=lambda part: part.share * wanted / part.tokens)


def epochs(parts: Sequence[Part], wanted: int) -> float:
    """How often that part is read."""
    most = most_read(parts, wanted)
    return most.share * wanted / most.tokens


def megatron(section: Mapping[str, Any], data: DataFacts) -> list[Part]:
    """The parts that `paths` of a MegatronPretraining section names for training; none where something is wrong, which
    checks/blends.py and checks/shards.py report.
    """
    paths, in_splits = section.get("paths"), True
    if isinstance(paths, str) and kind_of_paths(paths) != "pairs":
        kind = kind_of_paths(paths)
        facts = data.about(kind, paths)
        paths = facts.get("value") if kind == "blends" else facts.get("files")
    if isinstance(paths, Mapping):
        paths = paths.get("train")
    else:
        in_splits = False
    entries = [paths] if isinstance(paths, str) else paths
    if not isinstance(entries, list) or not entries:
        return []
    names, weights = _weighted([str(entry) for entry in entries])
    if not weights:
        names = list(dict.fromkeys(probe.without_ending(name) for name in names))
    used = 1.0 if in_splits else _train_share(section.get("split"))
    sizes = [_tokens(data.about("pairs", probe.without_ending(name))) for name in names]
    total = sum(weights) if weights else 0.0
    if not all(sizes) or (weights and total <= 0):
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
        except (ValueError, OverflowError):
            pass
    return list(entries), []


def _train_share(split: Any) -> float:
    """The training part of a `split` like "900,50,50"."""
    try:
        parts = [float(part) for part in str(split or _TRAIN_OF_SPLIT).split(",")]
        return parts[0] / sum(parts)
    except (ValueError, ZeroDivisionError):
        return 1.0


def _tokens(facts: Mapping[str, Any]) -> int:
    return int(facts["bin"]) // _ITEM[facts["type"]] if facts.get("type") in _ITEM and "bin" in facts else 0


def nanogpt(pattern: Any, data: DataFacts) -> list[Part]:
    """The files that a pattern, or a list of files, matches."""
    patterns = pattern if isinstance(pattern, list) else [pattern]
    files = dict.fromkeys(file for one in patterns for file in data.about("shards", str(one)).get("files", []))
    sizes = [max(0, data.about("files", file).get("tokens", 0)) for file in files]
    total = sum(sizes)
    return [Part(file, size, size / total) for file, size in zip(files, sizes, strict=True)] if all(sizes) else []
