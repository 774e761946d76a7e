"""How many training tokens Megatron data hold, from sizes of files and headers; the data are not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.data import probe
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.pairs import ITEM


@dataclass(frozen=True)
class Part:
    """A prefix or file: its tokens, and its share of the samples."""

    name: str
    tokens: float
    share: float


def most_read(parts: Sequence[Part], wanted: int) -> Part:
    """The part that a training on `wanted` tokens reads most often."""
    return max(parts, key=lambda part: part.share * wanted / part.tokens)


def epochs(parts: Sequence[Part], wanted: int) -> float:
    """How often that part is read."""
    most = most_read(parts, wanted)
    return most.share * wanted / most.tokens


def of_list(entries: Any, data: DataFacts, used: float = 1.0) -> list[Part]:
    """The parts of a list of prefixes, with or without weights; `used` is the share of each that is trained on.

    None where something is wrong, which blends.py and pairs.py report, and where nothing of them is.
    """
    if not isinstance(entries, list) or not entries:
        return []
    names, weights = _weighted([str(entry) for entry in entries])
    if not weights:
        names = list(dict.fromkeys(probe.without_ending(name) for name in names))
    sizes = [_tokens(data.about("pairs", probe.without_ending(name))) for name in names]
    total = sum(weights) if weights else 0.0
    if not all(sizes) or (weights and total <= 0) or not used > 0:
        return []
    all_tokens = sum(sizes)
    return [
        Part(name, size * used, weight / total if weights else size / all_tokens)
        for name, size, weight in zip(names, sizes, weights or [0.0] * len(names), strict=True)
    ]


def share(split: Any, default: str, number: int = 0) -> float:
    """A part, by default that of the training, of a `split` like "900,50,50"; 0 of those that it does not name."""
    try:
        parts = [float(part) for part in str(split or default).split(",")]
        return sum(parts[number : number + 1]) / sum(parts)
    except (ValueError, ZeroDivisionError):
        return 1.0


def _weighted(entries: Sequence[str]) -> tuple[list[str], list[float]]:
    """Names, and weights where they stand between them (megatron_utils.py, get_blend_from_list)."""
    if len(entries) % 2 == 0:
        try:
            return list(entries[1::2]), [float(entry) for entry in entries[::2]]
        except (ValueError, OverflowError):
            pass
    return list(entries), []


def _tokens(facts: Mapping[str, Any]) -> int:
    return int(facts["bin"]) // ITEM[facts["type"]] if facts.get("type") in ITEM and "bin" in facts else 0
