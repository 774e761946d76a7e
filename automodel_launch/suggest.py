"""The nearest known name to a misspelt one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is near; separators and case do not count."""
    options = {_fold(option): option for option in known}
    found = difflib.get_close_matches(_fold(name), options, n=1, cutoff=0.6)
    return options[found[0]] if found else None


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """Like `nearest`, for dotted keys: a key that differs in its last part only is nearer than any other."""
    known = list(known)
    parent, _, leaf = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == parent}
    near = nearest(leaf, siblings)
    return siblings[near] if near else nearest(key, known)


def alike(name: str, other: str) -> bool:
    """The two differ so little that one is most likely the other misspelt."""
    return difflib.SequenceMatcher(None, _fold(name), _fold(other)).ratio() >= 0.75


def completed(name: str, known: Iterable[str]) -> str | None:
    """The known name that begins with `name`, the longest that `name` begins with, else the nearest one.

    `cosin` is cosine, `fsdp` fsdp2, and `cosine_with_restarts` cosine.
    """
    known = list(known)
    longer = next((other for other in known if name and _fold(other).startswith(_fold(name))), None)
    shorter = [other for other in known if len(other) > 2 and _fold(name).startswith(_fold(other))]
    return longer or nearest(name, known) or max(shorter, key=len, default=None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or an empty string."""
    near = nearest(name, known)
    return f" Did you mean '{near}'?" if near else ""


def _fold(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
