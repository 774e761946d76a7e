"""Steps of datatrove tried on what they will meet: the first files of a reader, a writer's compression.

Of a file that it cannot open datatrove says so in the first task, hours into a queue; rows without text it passes over,
so that a wrong `text_key` or a file of another kind ends in no document at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep_lib.errors import ConfigError, InputError

_FILES, _ROWS = 3, 100  # of a reader that are looked at, and rows of each
_FILE_FIX = "\n  data that this reader reads, `glob_pattern`, or another reader"


def compression(where: str, step: Any) -> None:
    """Of a writer, and of a filter's writer of what it leaves out.

    Raises:
        ConfigError: fsspec, which opens the files, has no such one.
    """
    from datatrove.pipeline.writers import JsonlWriter
    from fsspec.compression import compr  # type: ignore[import-untyped, unused-ignore]

    for key, writer in (("", step), (".exclusion_writer", getattr(step, "exclusion_writer", None))):
        named = writer.compression if isinstance(writer, JsonlWriter) else None
        if named not in (None, "infer", *compr):
            valid = ", ".join(sorted(filter(None, compr)))
            raise ConfigError(f"{where}{key}.compression: {named!r} is not valid\n  valid: null, infer, {valid}")


def reader(where: str, step: Any) -> None:
    """A reader of files is given the first that are not empty; one row with text in any of them will do.

    Raises:
        InputError: it fails on one, or there is no row with text.
    """
    passed, keys = "", set()
    for name in islice(_files(step), _FILES):
        found, rows, seen = _first(where, step, name)
        if found:
            return
        keys |= seen
        what = f"none of its first {rows} rows has text" if rows else "it has no row"
        passed = passed or f"{where}.data_folder: {step.data_folder.resolve_paths(name)}: {what}"
    if passed and step.text_key not in keys:  # else they may well begin with empty ones
        has = f"; they have: {', '.join(sorted(keys))}" if keys else ""
        fix = "\n  text_key: the field that holds the text" if keys else _FILE_FIX
        raise InputError(f"{passed}{f' under {step.text_key!r}{has}' if keys else ''}{fix}")


def _files(step: Any) -> Iterator[str]:
    """Names of files that are not empty; a directory of many is not listed to its end for them."""
    folder = step.data_folder
    if step.glob_pattern or not step.recursive or not Path(folder.path).is_dir():
        names = iter(folder.list_files(recursive=step.recursive, glob_pattern=step.glob_pattern))
    else:
        walked = (Path(top, name) for top, _, files in os.walk(folder.path) for name in sorted(files))
        names = (str(path.relative_to(folder.path)) for path in walked)
    return (name for name in names if folder.info(name).get("size"))


class _Enough(Exception):
    """So many rows without text."""


def _first(where: str, step: Any, name: str) -> tuple[bool, int, set[str]]:
    """Whether there is a document among the first rows of a file; rows that were read, and their fields."""
    rows, keys, plain = 0, set[str](), step.get_document_from_dict

    def counted(data: dict[str, Any], source_file: str, id_in_file: int | str) -> Any:
        nonlocal rows
        if rows == _ROWS:
            raise _Enough
        rows += 1
        keys.update(map(str, data))  # the adapter takes them out
        return plain(data, source_file, id_in_file)

    step.get_document_from_dict = counted
    try:
        return next(iter(step.read_files_shard([name])), None) is not None, rows, keys
    except _Enough:
        return False, rows, keys
    except Exception as e:  # whatever its library says of a file
        said = str(e).partition("\n")[0]
        path = step.data_folder.resolve_paths(name)
        raise InputError(f"{where}: {path}: {type(e).__name__}: {said}{_FILE_FIX}") from None
    finally:
        step.get_document_from_dict = plain
