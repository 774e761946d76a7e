"""Lists that name Megatron data, the same for every framework that reads them: prefixes, with or without weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends.data import probe
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.paths import outside, relative
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

PREPARE = "python launch.py data-prep prepares data; bash scripts/quickstart.sh makes that of pretrain -c tiny"
OBJECT_STORAGE = ("s3://", "msc://")  # indexed_dataset.py, _is_object_storage_path


@dataclass(frozen=True)
class Use:
    """A prefix, and where it is named, for a message."""

    prefix: str
    where: str


def entries(values: list[Any], where: str) -> Iterator[Use | Finding]:
    """Prefixes, or weights and prefixes in turn (get_blend_from_list of AutoModel and of Megatron-Core)."""
    odd = next((entry for entry in values if isinstance(entry, (list, dict)) or entry is None), None)
    if odd is not None or None in values:
        fix = '["0.3", "PREFIX", "0.7", "PREFIX"]: one flat list'
        yield Finding("error", "bad-blend", f"{where}: {odd!r} is neither a weight nor a prefix.", fix)
        return
    weights = [_number(entry) for entry in values[::2]]
    if len(values) > 1 and any(weight is not None for weight in weights):
        if None in weights or len(values) % 2:
            message = f"{where}: weights and prefixes do not alternate."
            yield Finding("error", "bad-blend", message, '["0.3", "PREFIX", "0.7", "PREFIX"]')
            return
        for weight, name in zip(weights, values[1::2], strict=True):
            if weight is not None and not 0 < weight < math.inf:
                yield Finding("error", "bad-blend", f"{where}: {name} has the weight {weight:g}.", "leave it out")
        values = values[1::2]
    for name in map(str, values):
        if name.startswith(OBJECT_STORAGE):
            continue
        if name.strip().startswith("/"):
            yield Use(probe.without_ending(name), where)
        else:
            yield relative(where, name)


def in_file(
    plan: Plan, path: str, data: DataFacts, written: str, named: Callable[[Any, str], Iterator[Use | Finding]]
) -> Iterator[Use | Finding]:
    """What a JSON file names, where it can be read: `named` takes its content and where that stands.

    `written`: where its path stands, for a message.
    """
    where = f"{written}: {path}"
    if not path.startswith("/"):
        yield relative(where, path)
        return
    facts = data.about("blends", path)
    content = facts.get("value")
    if facts.get("own"):
        message = f"{where}: this output was moved or copied, and names the shards of where it was:"
        message += f" {next(probe.prefixes(content))}, not {facts['own']}."
        yield Finding("warning", "data-elsewhere", message, f"python launch.py data-prep relocate {path}")
    if "missing" in facts:
        yield Finding("error", "no-data", f"{where}: no such file{outside(plan, path)}.", PREPARE)
    elif "error" in facts:
        yield Finding("error", "bad-blend", f"{where}: cannot be read as JSON: {facts['error']}", PREPARE)
    elif "elsewhere" not in facts:
        yield from named(content, where)


def _number(entry: Any) -> float | None:
    try:
        return float(entry)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
    except (TypeError, ValueError):
        return None
