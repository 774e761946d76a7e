"""The leaves of a configuration, and the one that words speak of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_TRIVIAL = ("", "0", "1", "-1", "true", "false", "none", "0.0", "1.0")


def leaves(config: Mapping[str, Any], section: str | None) -> Iterator[tuple[str, Any]]:
    """The leaves of a section, or of everything, by their dotted keys."""
    at = tuple(section.split(".")) if section else ()
    found = get(config, at)
    for path, leaf in paths(found, at).items() if isinstance(found, Mapping) else ():
        if not isinstance(leaf, Mapping):
            yield ".".join(path), leaf


def get(config: Any, at: Iterable[str]) -> Any:
    """What stands at a path; None where there is nothing."""
    for part in at:
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def paths(value: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Path -> value of whatever is no mapping, and of empty mappings."""
    if not isinstance(value, Mapping) or not value:
        return {at: value} if at else {}
    found: dict[tuple[str, ...], Any] = {}
    for key, item in value.items():
        found.update(paths(item, (*at, str(key))))
    return found


def leaf_below(config: Mapping[str, Any], section: str, text: str, source: str) -> str | None:
    """The one leaf of a section that a message, else its source line, speaks of."""
    return spoken_of(dict(leaves(config, section)), text, source, within=True)


def spoken_of(below: Mapping[str, Any], text: str, source: str, *, within: bool) -> str | None:
    """The one leaf whose name, or telling value, stands in the message, else in the source line."""
    for words in (text, source) if within else (text,):
        scores: dict[str, int] = {}
        for key, value in below.items():
            name = key.split(".")[-1]
            score = 2 * bool(len(name) > 1 and re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words, re.I))
            shown = str(value)
            if within and not _common(shown) and not name.startswith("_"):
                score += bool(re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w])", words))
            if score:
                scores[key] = score
        best = [key for key, score in scores.items() if score == max(scores.values())]
        if len(best) == 1:
            return best[0]
    return None


def _common(shown: str) -> bool:
    """Whether a value tells nothing by itself: a message may have such a number for any reason."""
    return shown.lower() in _TRIVIAL or bool(re.fullmatch(r"\d{1,3}", shown))


def spelt_out(config: Mapping[str, Any], text: str) -> str | None:
    """The one key of all that a message spells out, which knows better than the frames.

    That is its whole path; or its name, of several words, in quotes or with its value; or a value of it, in quotes.
    """
    quoted = set(re.findall(r"[`'\"]([^`'\"\s]{3,})[`'\"]", text))
    values = set(re.findall(r"(?<![\w.])(\w+_\w+ ?[=:] ?[^\s,;()]+)", text))
    spelt = (
        lambda key, value: "." in key and re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", text),
        lambda key, value: "_" in key.split(".")[-1] and key.split(".")[-1] in quoted,
        lambda key, value: any(f"{key.split('.')[-1]}{sign}{value}" in values for sign in ("=", ": ", " = ")),
        lambda key, value: isinstance(value, str) and value in quoted,
    )
    return next(filter(None, (only_one(config, holds) for holds in spelt)), None)


def only_one(config: Mapping[str, Any], holds: Callable[[str, Any], Any]) -> str | None:
    """The key for which something holds, if it is one alone."""
    named = [key for key, value in leaves(config, None) if holds(key, value)]
    return named[0] if len(named) == 1 else None
