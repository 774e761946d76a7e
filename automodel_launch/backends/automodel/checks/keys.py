"""Keys and values that AutoModel does not accept: findings that several checks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import schema
from automodel_launch.backends.automodel.keys import LOCAL_BATCH
from automodel_launch.backends.automodel.schema import Signature, kinds
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, completed, nearest

_SHOWN = 12
_COUNTED = ("step_scheduler.", "lr_scheduler.")  # numbers that are compared and divided only: 1e4 is as good as 10000


def against(plan: Plan, section: str, values: Mapping[str, Any], taken: Signature) -> Iterator[Finding]:
    """Each key below `section` against what it takes, with the kind of its value."""
    for name, value in values.items():
        key = f"{section}.{name}"
        if name in taken.silent:
            yield silent(plan, key, value)
        elif name in taken.params:
            yield from kind(plan, key, value, taken.params[name])
        elif name == "_target_" or taken.open:
            continue
        elif taken.lenient:
            yield ignored(plan, key, value, taken.params)
        else:
            yield unknown(plan, key, value, taken.params)


def unknown(plan: Plan, key: str, value: Any, known: Iterable[str], what: str = "") -> Finding:
    """AutoModel refuses the key, often only when it builds the section."""
    section, _, name = key.rpartition(".")
    written = describe_value(plan, key, value)
    message = f"{written}: {what or section} takes no '{name}'; AutoModel {schema.VERSION} stops at it."
    return Finding("error", "unknown-key", message, _instead(section, name, list(known)))


def ignored(plan: Plan, key: str, value: Any, known: Iterable[str], where: str = "") -> Finding:
    """AutoModel never reads the key. A likely misspelling is an error: the training would be another one."""
    section, _, name = key.rpartition(".")
    known = list(known)
    written = describe_value(plan, key, value)
    message = f"{written}: AutoModel {schema.VERSION} ignores it without a message; it reads no such key"
    misspelt = not name.startswith("_") and any(alike(name, other) for other in known)  # `_name`: switched off
    fix = _instead(section, name, known) if misspelt else f"remove it (~{key}); {_taken(section, known)}"
    return Finding("error" if misspelt else "warning", "ignored-key", f"{message} {where or 'there'}.", fix)


def silent(plan: Plan, key: str, value: Any) -> Finding:
    """A key that AutoModel accepts and never uses."""
    message = (
        f"{describe_value(plan, key, value)}: AutoModel {schema.VERSION} accepts it and ignores it without a message."
    )
    return Finding("warning", "ignored-key", message, f"~{key}, or remove it from the config")


def kind(plan: Plan, key: str, value: Any, wanted: str, strict: bool = False) -> Iterator[Finding]:
    """The value is of a kind that AutoModel accepts; `strict` where it is compared as transformers does."""
    if kinds.fits(value, wanted, strict):
        return
    texts = kinds.literals(wanted)
    if texts and isinstance(value, str):
        yield one_of(plan, key, value, texts)
        return
    what = kinds.words(wanted, strict)
    message = f"{describe_value(plan, key, value)} is not {what}"
    example = kinds.example(key, value, wanted)
    taken_as = None if strict else _taken_as(key, kinds.as_read(value), wanted)
    if taken_as is None:
        yield Finding("error", "wrong-type", f"{message}.", example)
    else:
        yield Finding("warning", "wrong-type", f"{message}; it is taken as {taken_as}.", example)


def _taken_as(key: str, seen: Any, wanted: str) -> int | None:
    """The number that Python computes with all the same; None where it, or AutoModel, refuses the value."""
    if isinstance(seen, bool) and {"int", "float"} & {*wanted.split("|")}:
        return int(seen)
    counted = key.startswith(_COUNTED) and key != LOCAL_BATCH  # a slice of a list, which takes no float
    return int(seen) if counted and isinstance(seen, float) and seen.is_integer() else None


def one_of(plan: Plan, key: str, value: Any, texts: Iterable[str]) -> Finding:
    """The value is not one of those that AutoModel knows."""
    texts = list(texts)
    message = f"{describe_value(plan, key, value)}: AutoModel {schema.VERSION} knows {', '.join(texts)}."
    return Finding("error", "bad-value", message, f"{key}={completed(str(value), texts) or texts[0]}")


def _instead(section: str, name: str, known: list[str]) -> str:
    near = nearest(name, known)
    prefix = f"{section}." if section else ""
    if near:
        return f"did you mean {prefix}{near}?"
    return _taken(section, known)


def _taken(section: str, known: list[str]) -> str:
    shown = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return f"{section or 'the top level'} takes {shown or 'nothing'}"
