"""Which of the command line's overrides a failure comes from: the base configuration takes them one after the other.

Overrides are not read again, for that is the launcher's business. What each of them has changed is told from the two
resolved configurations: the leaves at or below its key, and leaves elsewhere that have taken its value by reference.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from . import leaves
from .request import Request

Leaf = tuple[str, ...]
Signature = tuple[str, ...]
Fails = Callable[[Mapping[str, Any], str], "Signature | None"]
_MISSING = object()


def signature(refusal: Mapping[str, Any]) -> Signature:
    """What makes two failures the same one: where, and of which type. Texts have numbers in them."""
    return tuple(str(refusal.get(name)) for name in ("stage", "type", "file", "line"))


def name(refusal: dict[str, Any], request: Request, fails: Fails) -> None:
    """Put the override, and its key, into the refusal where one of them is to blame.

    `fails` says how a configuration fails up to the end of a stage. The smallest number of overrides with which the
    failure is there is searched for by halves; the last of them is named.
    """
    if request.base is None or not request.overrides:
        return
    changed = changes(request)
    wanted, stage = signature(refusal), str(refusal["stage"])
    without, with_it = 0, len(request.overrides)
    of_base = fails(applied(request, changed, 0), stage)
    if of_base == wanted:
        return  # the base configuration has it, too
    while with_it - without > 1:
        middle = (without + with_it) // 2
        if fails(applied(request, changed, middle), stage) == wanted:
            with_it = middle
        else:
            without = middle
    before = of_base if with_it == 1 else fails(applied(request, changed, with_it - 1), stage)
    to_blame = with_it if before is None else _not_only_unmasking(request, changed, stage, fails)
    if to_blame is None:
        to_blame = _above(refusal.get("key"), request)
    if to_blame is None:
        return
    override = request.overrides[to_blame - 1]
    key = key_of(override)
    below = refusal.get("key")
    if not below or not f"{below}.".startswith(f"{key}."):
        below = leaves.leaf_below(request.config, key, refusal["text"], refusal["source"] or "")
    refusal["key"] = below or key
    refusal["key_by"], refusal["override"] = "override", override


def _not_only_unmasking(request: Request, changed: list[dict[Leaf, Any]], stage: str, fails: Fails) -> int | None:
    """The number of the override to blame, where the one that was found may only have made way for the failure.

    That is so where without it something else fails; then one is looked for without which nothing fails. There may be
    none: what fails stands in the base configuration, and the overrides only let the job come so far.
    """
    for number in range(len(changed) - 1, -1, -1):
        others = [group for at, group in enumerate(changed) if at != number]
        if fails(_with(request, others), stage) is None:
            return number + 1
    return None


def _above(key: str | None, request: Request) -> int | None:
    """The number of the override that sets the key which frames and message tell of; None where there is none."""
    numbers = range(len(request.overrides), 0, -1)
    return next((n for n in numbers if key and f"{key}.".startswith(f"{key_of(request.overrides[n - 1])}.")), None)


def changes(request: Request) -> list[dict[Leaf, Any]]:
    """For each override the leaves that it has changed, with their new values (`_MISSING`: taken away)."""
    old, new = leaves.paths(request.base or {}), leaves.paths(request.config)
    differing = {leaf: new.get(leaf, _MISSING) for leaf in {*old, *new} if _differs(old, new, leaf)}
    found: list[dict[Leaf, Any]] = []
    for override in request.overrides:
        key = tuple(key_of(override).split("."))
        found.append({leaf: value for leaf, value in differing.items() if leaf[: len(key)] == key})
    for leaf in set(differing) - {leaf for group in found for leaf in group}:
        value = differing[leaf]
        owners = [group for group in found if any(_same(value, other) for other in group.values())]
        (owners or found)[-1][leaf] = value
    return found


def applied(request: Request, changed: list[dict[Leaf, Any]], number: int) -> dict[str, Any]:
    """The base configuration with the first `number` overrides."""
    if number == len(changed):
        return request.config
    return _with(request, changed[:number])


def _with(request: Request, groups: list[dict[Leaf, Any]]) -> dict[str, Any]:
    config = copy.deepcopy(request.base or {})
    for group in groups:
        # what is taken away goes first: {a: 1} may have become {a: {b: 2}}
        for leaf, value in sorted(group.items(), key=lambda item: item[1] is not _MISSING):
            _put(config, leaf, value)
    return config


def key_of(override: str) -> str:
    """optimizer.lr of "+optimizer.lr=1" and of "~optimizer.lr"."""
    return re.sub(r"^[+~]*", "", override).partition("=")[0].strip()


def _differs(old: Mapping[Leaf, Any], new: Mapping[Leaf, Any], leaf: Leaf) -> bool:
    return not _same(old.get(leaf, _MISSING), new.get(leaf, _MISSING))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or one is other or repr(one) == repr(other))


def _put(config: dict[str, Any], leaf: Leaf, value: Any) -> None:
    *above, last = leaf
    section = config
    for key in above:
        inner = section.get(key)
        if not isinstance(inner, dict):
            if value is _MISSING:
                return
            inner = section[key] = {}
        section = inner
    if value is _MISSING:
        section.pop(last, None)
    else:
        section[last] = copy.deepcopy(value)
