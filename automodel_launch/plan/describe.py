"""How findings name a key, with its value and where that was written, and which numbers they offer, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from automodel_launch.config import dotted
from automodel_launch.plan.plan import Plan

_TRIED = 10**5


def describe(plan: Plan, key: str) -> str:
    """`a.b = 150 (pretrain/tiny.yaml:15)`; a key without a value has the backend's default."""
    value = dotted.get(plan.config, key)
    return f"{key} (not given)" if value is None else describe_value(plan, key, value)


def describe_value(plan: Plan, key: str, value: Any) -> str:
    """`key = value (file:line)`, also of a key in a list; a mapping is shown by its keys."""
    if isinstance(value, dict):
        keys = ", ".join(list(map(str, value))[:4]) + (", ..." if len(value) > 4 else "")
        return f"{key}: {{{keys}}} ({source(plan, key)})"
    text = repr(value)
    return f"{key} = {text if len(text) <= 120 else text[:117] + '...'} ({source(plan, key)})"


def source(plan: Plan, key: str) -> str:
    """File and line, or override, of a key; of a section, where its first key stands; of a list's entry, the list."""
    while key:
        found = plan.provenance.get(key) or next(
            (where for leaf, where in plan.provenance.items() if leaf.startswith(f"{key}.")), None
        )
        if found:
            return str(found)
        key = key.rpartition(".")[0]
    return plan.config_name


def override(plan: Plan, key: str, value: object) -> str:
    """The override that sets a key: `key=value`, with a `+` where the config does not have the key yet."""
    above, _, leaf = key.rpartition(".")
    section = dotted.get(plan.config, above) if above else plan.config
    return f"{key}={value}" if isinstance(section, Mapping) and leaf in section else f"+{key}={value}"


def ranks(plan: Plan) -> str:
    """The world size and its factors."""
    if plan.nodes == 1:
        return f"world size {plan.world_size}"
    return f"world size {plan.world_size} ({plan.nodes} nodes x {plan.processes_per_node})"


def in_epochs(times: float) -> str:
    """`0.14 epochs`, `1 epoch`, `2,400 epochs`: two digits."""
    two = float(f"{times:.2g}")
    text = f"{two:,.0f}" if two >= 10 else f"{two:g}"
    return f"{text} epoch{'' if two == 1 else 's'}"


def amount(number: float) -> str:
    """A large number for reading: 1,234 or 2.10 billion."""
    number = min(number, 10**300)  # a config may have one that is no float
    for size, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.4g} {name}"
    return f"{number:,.0f}"


def divisors(number: int, most: int | None = None) -> list[int]:
    """The divisors of a positive number, ascending, up to `most`; of a number beyond reason not all. Of others none."""
    if number < 1:
        return []
    small = [d for d in range(1, min(math.isqrt(number), _TRIED) + 1) if number % d == 0]
    return [d for d in sorted({*small, *(number // d for d in small)}) if most is None or d <= most]


def shortened(numbers: list[int], most: int = 8) -> str:
    """The first numbers of a list, and the last."""
    shown = numbers if len(numbers) <= most else [*numbers[: most - 1], numbers[-1]]
    return ", ".join(map(str, shown))
