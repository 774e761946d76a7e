"""The node agent's byte code, for a job whose agent this Python starts: to compile it is most of that start.

As Python writes it, in __pycache__ beside the sources, but valid by their content and not by their time (PEP 552),
which is another in each job's directory. It is no part of a Plan: it says what the Plan's files say, and a file that
is changed in the job is compiled there as ever.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from automodel_launch.plan import packaging
from automodel_launch.plan.packaging import PlannedFile

_CHECKED = b"\x03\0\0\0"  # the header: 4 bytes of magic number, these, and 8 of the source's hash


def beside(files: Iterable[PlannedFile]) -> dict[str, Path]:
    """Where it lies, by its path in the job's directory; none of a module where none can be written here."""
    found: dict[str, Path] = {}
    if sys.dont_write_bytecode:
        return found
    for file in files:
        if file.committed is None and file.path.endswith(".py") and packaging.is_agent(file.path):
            cached = _ready(file.source)
            if cached is not None:
                found[str(PurePosixPath(file.path).parent / "__pycache__" / cached.name)] = cached
    return found


def _ready(source: Path) -> Path | None:
    """The file of byte code that says what the source does; written now where there is none."""
    path = Path(importlib.util.cache_from_source(str(source)))
    try:
        header = importlib.util.MAGIC_NUMBER + _CHECKED + importlib.util.source_hash(source.read_bytes())
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(header)) == header:
                    return path
        return path if _compile(source, path) else None
    except OSError:
        return None


def _compile(source: Path, path: Path) -> bool:
    """Write it, in one step; whether it could be written."""
    import py_compile  # seldom: the next launch finds what this one has written

    folder = path.parent if path.parent.is_dir() else path.parent.parent
    if not os.access(folder, os.W_OK):
        return False
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    try:
        return py_compile.compile(str(source), str(path), doraise=True, invalidation_mode=mode) is not None
    except py_compile.PyCompileError:  # whoever runs it will hear of that
        return False
