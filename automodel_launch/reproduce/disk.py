"""Sizes of directories, and their removal, where jobs lie; nothing outside of a given directory, whatever links say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from automodel_launch.errors import ClusterError
from automodel_launch.remote.filesystem import FileSystem, shell_of

Place = tuple[str, str]  # a directory, and a path below it
GONE, LINK, OUTSIDE = "gone", "link", "outside"
WHY = {LINK: "it is a link", OUTSIDE: "a link above it leads elsewhere"}
ASK_S = 600.0
# Asked again before each removal: between a look and an act anybody may have put a link there.
_LIES = r"""
lies() {
  local base up
  base=$(cd -P -- "$1" 2>/dev/null && pwd -P) && up=$(cd -P -- "$(dirname -- "$1/$2")" 2>/dev/null && pwd -P) ||
    { echo gone; return 1; }
  case $up/ in "$base"/*) ;; *) echo outside; return 1 ;; esac
  [ ! -L "$1/$2" ] || { echo link; return 1; }
  [ -e "$1/$2" ] || { echo gone; return 1; }
}
look() { ! lies "$1" "$2" || echo $(($(du -sk -- "$1/$2" 2>/dev/null | cut -f1) + 0)); }
take() { ! lies "$1" "$2" || { rm -rf -- "$1/$2" && echo done || echo failed; }; }
"""


def sizes(place: FileSystem, wanted: Sequence[Place]) -> list[int | str]:
    """Bytes on disk of each, in one round trip; GONE, or LINK or OUTSIDE for what is never touched.

    Raises:
        ClusterError: the place cannot be reached, or does not answer.
    """
    said = _each(place, "look", wanted)
    return [int(word) * 1024 if word.isdigit() else word for word in said]


def remove(place: FileSystem, wanted: Sequence[Place]) -> list[bool]:
    """Remove each; False for one that is still there.

    Raises:
        ClusterError: the place cannot be reached, or does not answer.
    """
    return [word in ("done", GONE) for word in _each(place, "take", wanted)]


def _each(place: FileSystem, verb: str, wanted: Sequence[Place]) -> list[str]:
    if not wanted:
        return []
    calls = "".join(f"{verb} {shlex.quote(base)} {shlex.quote(below)}\n" for base, below in wanted)
    shell = shell_of(place)
    # through standard input: a command line holds no thousands of paths
    done = shell.run("bash -s 2>/dev/null", (_LIES + calls).encode("utf-8", "surrogateescape"), timeout=ASK_S)
    said = done.out.split()
    if len(said) != len(wanted):
        raise ClusterError(f"{shell.place}: sizes cannot be told: {' '.join(done.err.split())[-200:] or 'no answer'}.")
    return said
