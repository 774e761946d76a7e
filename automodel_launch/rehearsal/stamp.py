"""What stands for a Python's packages, and for files that a rehearsal reads: while it is the same, so is the answer.

The source of this module is also sent to the machine where that Python is: standard library, Python 3.6.
"""

import hashlib
import os
import sys
from typing import Iterable, Iterator, List

_PACKAGES = ("site-packages", "dist-packages")
_MARKS = (".dist-info", ".egg-info", ".egg-link", ".pth")
_FILES = 500  # of a folder: a tokenizer's or a model's has a dozen


def stamp(paths: Iterable[str]) -> str:
    """A digest of this Python, of what is installed for it, and of name, size and time of the files."""
    lines = [sys.version, *_packages(), *(line for path in paths for line in _files(path))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _packages() -> Iterator[str]:
    for folder in sys.path:
        if os.path.basename(folder) in _PACKAGES:
            for name in _names(folder):
                if name.endswith(_MARKS):
                    yield "%s %s" % (name, _state(os.path.join(folder, name)))


def _files(path: str) -> Iterator[str]:
    yield "%s %s" % (path, _state(path))
    for name in _names(path)[:_FILES]:
        inner = os.path.join(path, name)
        if os.path.isfile(inner):
            yield "%s %s" % (inner, _state(inner))


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):  # a path with a NUL in it
        return []


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "-"
    size = "" if os.path.isdir(path) else found.st_size
    return "%s %s" % (size, found.st_mtime_ns)
