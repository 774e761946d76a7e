"""What a person has changed: overrides, and what differs from the last job of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automodel_launch.commands import console
from automodel_launch.commands.preview_facts import last_job
from automodel_launch.jobs.jobdir import JobDir

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

Row = tuple[str, str]
_VALUE = 60  # characters of a value; both of a difference stand in one line


def lines(plan: Plan, removed: Sequence[str], most: int | None) -> Iterator[Row]:
    """Rows of (label, text), at most so many of each kind; `removed` are the keys behind ~ on the command line."""
    changed = [*overrides(plan), *(f"{key} removed" for key in removed)]
    if changed:
        yield "changed on the command line", ""
        yield from _some([("*", text) for text in changed], most)
    last = last_job(plan)
    before = JobDir(f"{plan.job_root}/{last}", plan.place).plan() if last else {}
    if not before:
        return
    found = list(differences(before, plan.document()))
    yield f"{'differs from' if found else 'the same as'} {last}, the last job of this run", ""
    yield from _some([("-", text) for text in found], most)


def _some(rows: list[Row], most: int | None) -> Iterator[Row]:
    yield from rows[:most]
    if most is not None and len(rows) > most:
        yield "-", f"and {len(rows) - most} more: --full"


def overrides(plan: Plan) -> Iterator[str]:
    """`key = value` of everything that the command line has set."""
    from automodel_launch.config.dotted import flatten

    for key, value in flatten(plan.config):
        source = plan.provenance.get(key, "")
        inside = source.split(", over ") if isinstance(value, list) else []  # what was changed in it, the last first
        if len(inside) > 1:
            yield from (part.removeprefix("override ") for part in reversed(inside[:-1]) if "override ~" not in part)
        elif source.startswith("override ") and not source.startswith("override ~"):
            yield f"{key} = {_value(value)}"
    for key, source in plan.profile_sources.items():
        if source.startswith("override "):
            yield f"run.env.{key} = {_value(_at(plan.document()['profile_values'], key))}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What of two plans' documents is not the same, apart from the job's id."""
    ids = str(before.get("job_id")), str(now["job_id"])
    for key in ("recipe", "profile", "executor", "container_image"):
        if not _same(before.get(key), now[key], ids):
            yield f"{key}: {_value(before.get(key))} -> {_value(now[key])}"
    old_lines, new_lines = (str(plan.get("script", "")).splitlines() for plan in (before, now))
    changed = set(_renamed(old_lines, ids)) ^ set(new_lines)
    if changed:
        added = len(changed & set(new_lines))
        yield f"script: {console.many(added, 'line')} new or other, {len(changed) - added} gone"
    files = [_files(plan) for plan in (before, now)]
    names = sorted(name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name))
    if names:
        yield f"code: {console.many(len(names), 'file')}: {console.listed(names, 3)}"
    for label, key in (("config", "config"), ("profile", "profile_values")):
        old, new = _flat(before.get(key)), _flat(now[key])
        if key == "profile_values":  # a plan leaves a profile's defaults out; the executor is told above
            own = _flat(_profile_defaults())
            old, new = ({k: v for k, v in {**own, **values}.items() if k != "executor"} for values in (old, new))
        for name in [*new, *(name for name in old if name not in new)]:
            if _same(old.get(name), new.get(name), ids):
                continue
            was, will = ("not set" if values.get(name) is None else _value(values[name]) for values in (old, new))
            yield f"{label}: {name} {was} -> {will}"


def _profile_defaults() -> dict[str, Any]:
    from automodel_launch.profile.schema import Profile

    return Profile().model_dump(mode="json")


def _files(plan: Mapping[str, Any]) -> dict[str, str]:
    files = [(str(file["path"]), str(file["sha256"])) for file in plan.get("files", [])]
    return {path.removeprefix("code/"): digest for path, digest in files if path.startswith("code/")}


def _flat(values: Any) -> dict[str, Any]:
    from automodel_launch.config.dotted import flatten

    return dict(flatten(values)) if isinstance(values, Mapping) else {}


def _same(old: Any, new: Any, ids: tuple[str, str]) -> bool:
    return bool(_renamed(_plain(old), ids) == _plain(new))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _renamed(value: Any, ids: tuple[str, str]) -> Any:
    if isinstance(value, str):
        return value.replace(*ids)
    return [_renamed(entry, ids) for entry in value] if isinstance(value, list) else value


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _value(value: Any) -> str:
    return console.cut(json.dumps(value, ensure_ascii=False, default=str), _VALUE)
