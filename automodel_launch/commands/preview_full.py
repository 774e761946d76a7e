"""The parts of a plan that are a line each on the first screen, and complete with --full."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from automodel_launch.commands import console
from automodel_launch.profile.schema import keys_of

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

Row = tuple[str, str]
_GPU_KEYS = ("gpus_per_node", "gpu")


def brief(plan: Plan) -> Iterator[Row]:
    """A line each: files and config, forwarded variables, mounts; and the hash."""
    from automodel_launch.config.dotted import flatten

    data = plan.document()
    size = console.size(sum(file["bytes"] for file in data["files"]))
    leaves = len(list(flatten(plan.config)))
    yield "travels", f"{console.many(len(data['files']), 'file')}, {size}; config {plan.config_name}: {leaves} keys"
    inherited = [name for name in plan.profile.env if name not in plan.agent["env"]]
    if inherited:
        yield "forwards", f"{console.listed(inherited)} (of this shell, where they are set)"
    if data["mounts"]:
        yield "mounts", f"{len(data['mounts'])}: {console.cut(console.listed(data['mounts'], 2), console.width())}"
    yield "plan", plan.plan_hash


def lines(plan: Plan) -> Iterator[Row]:
    """Everything, each value with its source; what the command line has set stands first and is marked."""
    from automodel_launch.config.dotted import flatten

    data = plan.document()
    yield f"profile {plan.profile_name}", ""
    yield from _values(_profile(plan))
    total = console.size(sum(file["bytes"] for file in data["files"]))
    yield f"files that travel: {len(data['files'])}, {total}", ""
    yield from (("-", f"{file['bytes']:>9,}  {file['path']}") for file in data["files"])
    yield "mounts", ""
    yield from (("-", mount) for mount in data["mounts"] or ["none"])
    yield "environment", ""
    for name in data["env"]:
        yield "-", f"{name} (secret, by name)" if name in data["secrets"] else name
    yield f"config {plan.config_name}", ""
    yield from _values([(key, value, plan.provenance.get(key, "")) for key, value in flatten(plan.config)])
    yield "plan", plan.plan_hash


def _values(rows: list[tuple[str, Any, str]]) -> Iterator[Row]:
    from automodel_launch.config import yamlio

    for key, value, source in sorted(rows, key=lambda row: not row[2].startswith("override ")):
        text = f"{key} = {json.dumps(yamlio.json_value(value), ensure_ascii=False)}"
        gap = "    " if len(f"    {text}    # {source}") <= console.width() else "\n  "
        yield "*" if source.startswith("override ") else "-", f"{text}{gap}# {source}" if source else text


def _profile(plan: Plan) -> list[tuple[str, Any, str]]:
    """Keys that have an effect under this executor, and none about GPUs on a machine without one."""
    from automodel_launch.commands.profiles import leaves
    from automodel_launch.remote import gpus

    values = plan.profile.model_dump(mode="json", exclude_unset=True)
    without = _GPU_KEYS if plan.here and not gpus.count() else ()
    known = {k: v for k, v in values.items() if k in keys_of(plan.profile.executor) and k not in without}
    found = list(leaves(known, plan.profile_sources))
    return [(key, value, plan.profile_sources.get(key, "")) for key, value in found]
