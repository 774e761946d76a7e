"""What `paths` of Megatron data names: is it in a form that AutoModel reads, and which prefixes are in it.

Forms: a prefix, a pattern, a list of prefixes with or without weights, a mapping of splits to such lists, a JSON file
that holds a list or a mapping (nemo_automodel, components/datasets/llm/megatron_dataset.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import datasets, phases
from automodel_launch.backends.automodel.data.request import kind_of_paths
from automodel_launch.backends.data import probe
from automodel_launch.backends.data.blends import PREPARE, Use, entries, in_file
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.paths import relative
from automodel_launch.config import dotted
from automodel_launch.plan.describe import source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"}  # in a JSON file, not in the config
SPLITS = {"train", "validation", "test", *ALIASES}

SHARES = ("train", "validation", "test")


def named(plan: Plan, data: DataFacts) -> Iterator[Use | Finding]:
    """Each prefix of the plan's Megatron data, once; and what is wrong with the lists that name them."""
    seen: list[Any] = []
    for key, value in datasets.data_paths(plan.config):
        if key.endswith("file_pattern") or dotted.left_to_the_job(value) or value in seen:
            continue
        seen.append(value)
        where = f"{key} ({source(plan, key)})"
        if not value:
            yield Finding("error", "no-data", f"{where}: names no data.", PREPARE)
        elif isinstance(value, Mapping):
            yield from _splits(value, where)
        elif isinstance(value, list):
            yield from entries(value, where)
        elif kind_of_paths(value) == "blends":
            yield from in_file(plan, str(value), data, where, _content)
        elif kind_of_paths(value) == "globs":
            yield from _glob(str(value), data, where)
        else:
            yield from entries([value], where)


def splits(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """The split that a section builds is in its data; else AutoModel ends when the model is loaded."""
    for key, kind, section in datasets.datasets(plan.config):
        wanted = section.get("splits_to_build")
        if datasets.MEGATRON_DATASET not in kind or dotted.left_to_the_job(wanted):
            continue
        yield from _shares(plan, f"{key}.split", section, data)
        of_phases = list(phases.paths(plan.config)) if key == "dataset" else []
        name = f"{key}.splits_to_build"
        if wanted not in ("train", "validation", "test"):
            what = f"{name} = {wanted!r} ({source(plan, name)})" if wanted else f"{name} is not given"
            fix = f"{name}={'train' if key == 'dataset' else 'validation'}"
            yield Finding("error", "no-split", f"{what}: AutoModel builds one of train, validation and test.", fix)
            continue
        for of, value in of_phases or [(f"{key}.paths", section.get("paths"))]:
            yield from _has_split(plan, name, of, value, data)


def _has_split(plan: Plan, name: str, of: str, value: Any, data: DataFacts) -> Iterator[Finding]:
    """The data at the key `of` have the split that the key `name` says."""
    wanted, section = dotted.get(plan.config, name), name.partition(".")[0]
    inline = isinstance(value, Mapping)
    if isinstance(value, str) and kind_of_paths(value) == "blends":
        value = data.about("blends", value).get("value")
    if isinstance(value, Mapping) and value and wanted not in {s if inline else ALIASES.get(s, s) for s in value}:
        has = ", ".join(map(str, value))
        message = f"{name} = {wanted} ({source(plan, name)}), and {of} has {has} only."
        alias = inline and wanted == "validation" and any(split in ALIASES for split in value)
        fix = "in the config itself it is called validation" if alias else f"add {wanted} to the data, or ~{section}"
        yield Finding("error", "no-split", message, fix)


def _shares(plan: Plan, key: str, section: Mapping[str, Any], data: DataFacts) -> Iterator[Finding]:
    """Three shares at most, and one for the split that is built: AutoModel stops at an assertion without words, or
    ignores them where data have splits.
    """
    split, wanted = section.get("split"), section.get("splits_to_build")
    if not isinstance(split, str) or "${" in split:
        return
    shares, paths = [part.strip() for part in split.split(",")], section.get("paths")
    if isinstance(paths, str) and kind_of_paths(paths) == "blends":
        paths = data.about("blends", paths).get("value")  # None where the file cannot be seen
    told, divided = f"{key} = {split!r} ({source(plan, key)})", isinstance(paths, list | str)
    level: Any = "error" if divided else "warning"
    if len(shares) > len(SHARES):
        message = f"{told}: there are {len(SHARES)} shares at most, of {', '.join(SHARES)}."
        yield Finding(level, "no-split", message, f'{key}="90,5,5"')
    elif divided and wanted in SHARES and all(map(_is_share, shares)):
        place = SHARES.index(wanted)
        if not any(map(float, shares)) or place >= len(shares) or not float(shares[place]):
            fix = f'{key}="90,5,5"; they are those of {", ".join(SHARES)}'
            yield Finding("error", "no-split", f"{told} leaves nothing for {wanted}, which is built.", fix)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def _content(blend: Any, where: str) -> Iterator[Use | Finding]:
    if isinstance(blend, list) and blend:
        yield from entries(blend, where)
    elif isinstance(blend, dict) and blend:
        yield from _splits(blend, where)
    else:
        yield Finding("error", "bad-blend", f"{where}: it holds neither splits nor a list of prefixes.", PREPARE)


def _glob(pattern: str, data: DataFacts, where: str) -> Iterator[Use | Finding]:
    if not pattern.startswith("/"):
        yield relative(where, pattern)
        return
    facts = data.about("globs", pattern)
    files = facts.get("files", [])
    others = [path for path in files if not path.endswith((".bin", ".idx"))]
    if "files" in facts and not files:
        yield Finding("error", "no-data", f"{where}: no file matches {pattern}.", PREPARE)
    elif others:
        message = f"{where}: {pattern} matches {others[0]} too, and AutoModel refuses all but .bin and .idx."
        yield Finding("error", "bad-blend", message, f"{pattern}.bin, or another pattern that ends so")
    for prefix in dict.fromkeys(probe.without_ending(path) for path in files if path not in others):
        yield Use(prefix, where)


def _splits(value: Mapping[str, Any], where: str) -> Iterator[Use | Finding]:
    for split, prefixes in value.items():
        if split not in SPLITS:
            fix = f"splits: {', '.join(sorted(SPLITS))}"
            yield Finding("error", "bad-blend", f"{where}: '{split}' is not a split.", fix)
        elif isinstance(prefixes, str):  # AutoModel iterates over its letters
            fix = f'"{split}": ["1.0", "{prefixes}"]'
            yield Finding("error", "bad-blend", f"{where}: {split}: is a string, and must be a list.", fix)
        elif not isinstance(prefixes, list) or not prefixes:
            yield Finding("error", "bad-blend", f"{where}: {split}: is empty.", "leave an empty split out")
        else:
            yield from entries(prefixes, f"{where}: {split}")
