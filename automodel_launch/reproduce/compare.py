"""Two jobs side by side: config, profile, code, data, environment, script. Values only; commands/diff.py shows them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract, data_identity
from automodel_launch.reproduce.left import Left

OF_THE_CONFIG = ("recipe", "config_name")
OF_THE_PROFILE = ("profile", "executor", "container_image", "nodes", "processes_per_node", "launch", "env", "secrets")
MACHINE = ("python", "image", "image_id", "nccl", "driver", "gpus", "system", "kernel", "machine")
LARGEST_TEXT = 1 << 20  # bytes of a file that is compared line by line


@dataclass(frozen=True)
class Row:
    """A key whose values differ; None: not set there."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Section:
    """One subject. `same` is None where it cannot be told, for the reason in `why`."""

    name: str
    same: bool | None
    why: str = ""
    rows: list[Row] = field(default_factory=list)
    text: list[str] = field(default_factory=list)  # a unified diff, or sentences


def sections(a: Left, b: Left) -> Iterator[Section]:
    """All subjects, in the order in which a reader asks for them."""
    yield _rows("config", _config(a), _config(b))
    yield _rows("profile", _profile(a), _profile(b))
    yield _code(a, b)
    yield data(a.data, b.data)
    yield environment(a.environment, b.environment)
    yield _script(a, b)


def data(a: Mapping[str, Any], b: Mapping[str, Any]) -> Section:
    """By what data_identity.look() has found."""
    if not a.get("digest") or not b.get("digest"):
        return Section("data", None, "not known of one of them" if a.get("digest") or b.get("digest") else "not known")
    if a["digest"] == b["digest"]:
        return Section("data", True)
    known = "rows" in a and "rows" in b
    text = data_identity.compare(dict(a), dict(b)) if known else ["other files, or of other content"]
    return Section("data", False, text=text)


def environment(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Section:
    """By environment.json; the host's name is no difference."""
    if a is None or b is None:
        who = "by neither of them" if a is None and b is None else "by one of them"
        return Section("environment", None, f"not recorded {who} ({contract.ENVIRONMENT})")
    return _rows("environment", _flat(a), _flat(b))


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    packages = found.get("packages")
    named = packages if isinstance(packages, Mapping) else {}
    return {**{key: found.get(key) for key in MACHINE}, **{f"package {name}": named[name] for name in named}}


def _rows(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Section:
    keys = dict.fromkeys([*a, *b])
    rows = [Row(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]
    return Section(name, not rows, rows=rows)


def _config(left: Left) -> dict[str, Any]:
    return {**{key: left.plan.get(key) for key in OF_THE_CONFIG}, **left.values("config")}


def _profile(left: Left) -> dict[str, Any]:
    own = {key: left.anonymous(left.plan.get(key)) for key in OF_THE_PROFILE}
    return {**own, **{key: value for key, value in left.values("profile_values").items() if key not in own}}


def _code(a: Left, b: Left) -> Section:
    names = sorted(name for name in a.code.keys() | b.code.keys() if a.code.get(name) != b.code.get(name))
    rows = [Row(name, (a.code.get(name) or "")[:12] or None, (b.code.get(name) or "")[:12] or None) for name in names]
    if rows and a.commit != b.commit:
        rows.insert(0, Row("commit", a.commit, b.commit))
    return Section("code", not rows, rows=rows, text=[line for name in names for line in _lines(a, b, name)])


def _lines(a: Left, b: Left, name: str) -> list[str]:
    """A unified diff of a file of both, empty where it is no text, or a directory is no longer at hand."""
    if not (name in a.code and name in b.code):
        return []
    texts = []
    for left in (a, b):
        content = left.read(f"{contract.CODE}/{name}")
        if content is None or len(content) > LARGEST_TEXT or b"\0" in content:
            return []
        texts.append(content.decode("utf-8", "replace").splitlines())
    return unified(texts[0], texts[1], f"{a.job_id}/{name}", f"{b.job_id}/{name}")


def _script(a: Left, b: Left) -> Section:
    texts = [str(left.anonymous(left.script)).splitlines() for left in (a, b)]
    text = unified(texts[0], texts[1], f"{a.job_id}/{contract.SCRIPT}", f"{b.job_id}/{contract.SCRIPT}")
    return Section("script", not text, text=text)


def unified(a: list[str], b: list[str], name_a: str, name_b: str) -> list[str]:
    """As `diff -u`, empty for equal texts."""
    return list(difflib.unified_diff(a, b, name_a, name_b, lineterm=""))
