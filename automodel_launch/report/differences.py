"""What differs between plans: of a run's jobs, and of several runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from automodel_launch.config.dotted import flatten
from automodel_launch.report.reading import Json

_OWN = ("recipe", "config_name", "profile", "executor", "container_image", "nodes", "processes_per_node", "world_size")
_SECTIONS = (("config", ""), ("profile_values", "run.env."))


def facts(plan: Mapping[str, Any], commit: str = "") -> dict[str, Any]:
    """What a plan trains, where and with which code, a value a key."""
    found: dict[str, Any] = {key: plan[key] for key in _OWN if plan.get(key) is not None}
    for section, prefix in _SECTIONS:
        values = plan.get(section)
        if isinstance(values, Mapping):
            found |= {f"{prefix}{key}": _plain(value, plan) for key, value in flatten(values)}
    if commit:
        found["commit"] = commit
    found |= {f"code: {file['path']}": str(file["sha256"])[:12] for file in plan.get("files", ()) if _is_code(file)}
    return found


def rows(columns: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Keys whose values are not the same in all columns; None where a column lacks one."""
    keys = dict.fromkeys(key for column in columns for key in column)
    table = {key: [column.get(key) for column in columns] for key in keys}
    return [{"key": key, "values": values} for key, values in table.items() if any(v != values[0] for v in values)]


def overridden(plan: Mapping[str, Any]) -> list[Json]:
    """What the command line has set."""
    config = plan.get("config")
    sources = plan.get("provenance") or {}
    values = dict(flatten(config)) if isinstance(config, Mapping) else {}
    return [{"key": k, "value": v} for k, v in values.items() if str(sources.get(k, "")).startswith("override ")]


def _plain(value: Any, plan: Mapping[str, Any]) -> Any:
    """A value without the ids of job and run, in which each differs; as words of their own, which paths have."""
    if not isinstance(value, str):
        return value
    for key, word in (("job_id", "JOB"), ("run_name", "RUN")):
        name = plan.get(key)
        if isinstance(name, str) and name:
            value = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", word, value)
    return value


def _is_code(file: Any) -> bool:
    return isinstance(file, Mapping) and str(file.get("path", "")).startswith("code/") and "sha256" in file
