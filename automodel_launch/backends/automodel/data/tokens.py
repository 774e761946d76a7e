"""How many training tokens the data hold, from sizes of files and headers; the data are not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends.automodel import datasets, phases
from automodel_launch.backends.automodel.data.request import kind_of_paths
from automodel_launch.backends.automodel.data_phases import Phase
from automodel_launch.backends.data import tokens
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.tokens import Part
from automodel_launch.config import dotted

_SPLIT = "900,50,50"  # MegatronPretraining's default `split`
_USES = ("train", "validation", "test")  # keys of `paths`, and the parts of a `split`


def of_training(config: Mapping[str, Any], data: DataFacts) -> list[Part]:
    """The parts of the section `dataset`; none where they are not known here."""
    planned = phases.known(config)
    if planned:
        return _of_phases(config, planned, data)
    for key, kind, section in datasets.datasets(config):
        if key == "dataset" and not dotted.left_to_the_job(section):
            if datasets.NANOGPT_DATASET in kind:
                return nanogpt(section.get("file_pattern"), data)
            return megatron(section, data)
    return []


def of_phase(config: Mapping[str, Any], phase: Phase, data: DataFacts) -> list[Part]:
    """The parts of one phase, with their shares of its samples."""
    return megatron({**config["dataset"], "paths": phase.paths}, data)


def _of_phases(config: Mapping[str, Any], planned: list[Phase], data: DataFacts) -> list[Part]:
    """Every part once, with its share of all samples of the run."""
    found: dict[str, Part] = {}
    total = sum(phase.steps for phase in planned)
    for phase in planned:
        parts = of_phase(config, phase, data)
        if not parts:
            return []
        for part in parts:
            before = found[part.name].share if part.name in found else 0.0
            found[part.name] = Part(part.name, part.tokens, before + part.share * phase.steps / total)
    return list(found.values())


def megatron(section: Mapping[str, Any], data: DataFacts, use: str = "train") -> list[Part]:
    """The parts that `paths` of a MegatronPretraining section names for a use; none where something is wrong, which
    checks/blends.py and data/pairs.py report.
    """
    paths, in_splits = section.get("paths"), True
    if isinstance(paths, str) and kind_of_paths(paths) != "pairs":
        kind = kind_of_paths(paths)
        facts = data.about(kind, paths)
        paths = facts.get("value") if kind == "blends" else facts.get("files")
    if isinstance(paths, Mapping):
        paths = paths.get(use, paths.get("valid") if use == "validation" else None)
    else:
        in_splits = False
    entries = [paths] if isinstance(paths, str) else paths
    return tokens.of_list(
        entries, data, 1.0 if in_splits else tokens.share(section.get("split"), _SPLIT, _USES.index(use))
    )


def nanogpt(pattern: Any, data: DataFacts) -> list[Part]:
    """The files that a pattern, or a list of files, matches."""
    patterns = pattern if isinstance(pattern, list) else [pattern]
    files = dict.fromkeys(file for one in patterns for file in data.about("shards", str(one)).get("files", []))
    sizes = [max(0, data.about("files", file).get("tokens", 0)) for file in files]
    total = sum(sizes)
    return [Part(file, size, size / total) for file, size in zip(files, sizes, strict=True)] if all(sizes) else []
