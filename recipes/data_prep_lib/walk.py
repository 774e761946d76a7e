"""The files below a directory that glob patterns match; what cannot be listed is an error, never left out.

glob.glob passes over a directory that it cannot read, and follows links into loops. Here `**` follows no link to a
directory unless asked (`*` and names do, as in a shell), and what a link leads to is entered once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any

_MAGIC = re.compile(r"[*?[]")


@dataclass
class Walk:
    """`links`: directory links that were not followed."""

    follow_links: bool = False
    links: list[str] = field(default_factory=list)
    _listed: dict[str, list[os.DirEntry[str]]] = field(default_factory=dict)
    _followed: set[tuple[object, ...]] = field(default_factory=set)

    def files(self, root: str, patterns: Sequence[str]) -> list[str]:
        """Paths below `root` in order, each once; hidden ones only where a pattern names the dot.

        Raises:
            OSError: a directory that cannot be listed.
        """
        found: set[str] = set()
        for pattern in patterns:
            found.update(self._match(root, [part for part in pattern.split("/") if part not in ("", ".")]))
        self.links = sorted(set(self.links))
        return sorted(found)

    def _match(self, directory: str, parts: list[str]) -> Iterator[str]:
        if not parts:
            return
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._any_depth(directory, rest or ["*"])
        elif _MAGIC.search(first):
            named = fits(first)
            hidden = first.startswith(".")
            for entry in self._entries(directory):
                if named(entry.name) and (hidden or not entry.name.startswith(".")):
                    yield from self._entry(entry, rest)
        else:
            path = Path(directory, first)
            if not rest and path.is_file():
                yield str(path)
            elif rest and path.is_dir():
                yield from self._match(str(path), rest)

    def _entry(self, entry: os.DirEntry[str], rest: list[str]) -> Iterator[str]:
        if not rest:
            if entry.is_file():
                yield entry.path
        elif entry.is_dir():
            yield from self._match(entry.path, rest)

    def _any_depth(self, directory: str, rest: list[str]) -> Iterator[str]:
        yield from self._match(directory, rest)
        for entry in self._entries(directory):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if not entry.is_symlink():
                yield from self._any_depth(entry.path, rest)
            elif self.follow_links:
                found = entry.stat()
                place = (found.st_dev, found.st_ino, *rest)
                if place not in self._followed and not _is_above(entry.path):
                    self._followed.add(place)
                    yield from self._any_depth(entry.path, rest)
            else:
                self.links.append(entry.path)

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        if directory not in self._listed:
            with os.scandir(directory) as entries:
                self._listed[directory] = sorted(entries, key=lambda entry: entry.name)
        return self._listed[directory]


def split_glob(pattern: str) -> tuple[str, str]:
    """(the directory before the first part with a wildcard, the rest)."""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:first]) or "/", "/".join(parts[first:])


def has_magic(path: str) -> bool:
    """Whether a path is a glob."""
    return bool(_MAGIC.search(path))


def _is_above(link: str) -> bool:
    """The link leads to a directory that it lies in: following it would begin again there."""
    target, here = os.path.realpath(link), os.path.realpath(Path(link).parent)
    return here == target or here.startswith(target.rstrip("/") + "/")


@lru_cache(maxsize=256)
def fits(part: str) -> Callable[[str], Any]:
    """Whether a name matches one part of a glob."""
    return re.compile(translate(part)).match
