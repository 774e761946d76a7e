"""Tracebacks of a rank name the files of the job's code/, though it imports them from a copy (code_copy.py).

The copy is gone when the job is over, and on another machine than the person who reads. So code that is loaded from it
bears the name of the file that it is a copy of, in tracebacks, warnings, log records and stacks alike. A module's
`__file__` is the copy.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from types import CodeType
from typing import Callable

_Named = Callable[[CodeType], CodeType]


def install(copy: str, original: str) -> None:
    """From now on, what this process imports from below `copy` bears names below `original`."""
    named = _naming(copy, original)

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType | None:
            code = super().get_code(fullname)
            return named(code) if code is not None else None

    def finder(path: str) -> importlib.machinery.FileFinder:
        if not _is_below(path, copy) or not os.path.isdir(path):
            raise ImportError(path)
        machinery = importlib.machinery
        return machinery.FileFinder(
            path,
            (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
            (Loader, machinery.SOURCE_SUFFIXES),
            (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)
    for path in [path for path in sys.path_importer_cache if _is_below(path, copy)]:
        del sys.path_importer_cache[path]


def compiled(path: str, copy: str, original: str) -> CodeType:
    """The code of a script of the copy, under the name of the script that it is a copy of."""
    with open(path, "rb") as file:
        return _naming(copy, original)(compile(file.read(), path, "exec", dont_inherit=True))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def _naming(copy: str, original: str) -> _Named:
    def named(code: CodeType) -> CodeType:
        inner = tuple(named(each) if isinstance(each, CodeType) else each for each in code.co_consts)
        name = code.co_filename
        there = original + name[len(copy) :] if _is_below(name, copy) else name
        return code.replace(co_filename=there, co_consts=inner)

    return named
