"""Naming a key of the config in a message: the key, its value, and where that was written."""

from __future__ import annotations

from typing import Any

from automodel_launch.plan import Plan


def written(plan: Plan, key: str, value: Any) -> str:
    """`key = value (file:line)`; a mapping is shown by its keys."""
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
            return found
        key = key.rpartition(".")[0]
    return plan.config_name
