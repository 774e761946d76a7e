"""What a data preparation has to do, for the preview: a row for each source, and the sum with time and disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.look import Looked
from automodel_launch.plan.describe import in_epochs
from automodel_launch.plan.plan import Plan


def rows(plan: Plan, found: Looked) -> Iterator[tuple[str, str]]:
    """(label, text)."""
    for source in found.sources:
        parts = [f"{source['name']}: {source['files']:,} files, {_bytes(source['bytes'])}"]
        if source["tokens"] is not None:
            parts.append(f"about {_short(source['documents'])} documents, {_short(source['tokens'])} tokens")
        parts.append(f"weight {source['weight']:g}")
        if source["epochs"] is not None:
            parts.append(in_epochs(source["epochs"]))
        yield "source", ", ".join(parts)
    if found.total:
        yield "work", summary(plan, found.total)


def summary(plan: Plan, total: Mapping[str, Any]) -> str:
    """Files, bytes, tokens, disk and time of all sources together."""
    parts = [f"{total['files']:,} files, {_bytes(total['bytes'])}, {total['shards']:,} shards"]
    if total["tokens"] is not None:
        parts.append(f"about {_short(total['tokens'])} tokens, {_bytes(total['output_bytes'])} of output")
        parts.append(f"{_hours(total['core_seconds'])} of one core as fast as this one's{_on_nodes(plan, total)}")
    return "; ".join(parts)


def _on_nodes(plan: Plan, total: Mapping[str, Any]) -> str:
    """How long that is with the processes that the plan has, where they are known."""
    cores = plan.config.get("workers") or plan.profile.cpus_per_task
    if not isinstance(cores, int) or cores < 1:
        return ""
    processes = min(plan.nodes * cores, total["shards"])
    nodes = f"{plan.nodes} nodes of {cores}" if plan.nodes > 1 else f"{cores}"
    limit = f"; more than {total['shards']} have nothing to do" if plan.nodes * cores > total["shards"] else ""
    return f", {_hours(total['core_seconds'] / processes)} with {nodes} processes{limit}"


def _hours(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.2g} {name}"
    return f"{max(1, seconds):.0f} s"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} bytes"


def _short(number: float) -> str:
    for unit, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:,.0f}"
