"""The files that a stage's readers will read. datatrove deals them out by their place in a sorted list, task by task:
a file more between two attempts, and documents would be read twice or never."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep_lib.errors import InputError
from data_prep_lib.hashes import fingerprint

from curate_lib.config import Config, Stage


def identity(config: Config, made: Sequence[tuple[Stage, Sequence[Any]]]) -> dict[str, str]:
    """Reader -> a hash of its files' names, sizes and times; of those that no stage of this output writes.

    Raises:
        InputError: a reader that has no files.
    """
    found = {}
    for stage, steps in made:
        for number, step in enumerate(steps):
            if not reads(step) or _is_own(config, step):
                continue
            where = f"{stage.where}.pipeline[{number}]"
            found[where] = fingerprint(list(_files(where, step)))
    return found


def check(where: str, step: Any) -> None:
    """What `identity` would refuse of a reader that chooses among the files of its folder.

    Raises:
        InputError: there are none that it chooses.
    """
    if reads(step) and (step.paths_file or step.glob_pattern or not step.recursive):
        next(_files(where, step))


def reads(step: Any) -> bool:
    """Whether it reads files; None does not."""
    if step is None:
        return False
    from datatrove.pipeline.readers.base import BaseDiskReader

    return isinstance(step, BaseDiskReader)


def _is_own(config: Config, step: Any) -> bool:
    path = Path(str(step.data_folder.path))
    return config.output_dir == path or config.output_dir in path.parents


def _files(where: str, step: Any) -> Iterator[tuple[str, Any, Any]]:
    folder = step.data_folder
    if step.paths_file:
        yield str(step.paths_file), _content(where, step.paths_file), 0
        return
    try:
        names = folder.list_files(recursive=step.recursive, glob_pattern=step.glob_pattern)
    except OSError as e:
        raise InputError(f"{where}.data_folder: {folder.path}: {e}") from None
    except Exception as e:  # whatever fsspec says of a pattern
        raise InputError(f"{where}.glob_pattern: {step.glob_pattern!r}: {e}") from None
    if not names:
        pattern = f" that match {step.glob_pattern!r}" if step.glob_pattern else ""
        raise InputError(
            f"{where}.data_folder: no files in {folder.path}{pattern}\n  a directory with files that it reads"
        )
    for name in names:
        about = folder.info(name)
        yield name, about.get("size"), about.get("mtime") or about.get("ETag") or about.get("LastModified")


def _content(where: str, file: Any) -> str:
    from datatrove.io import open_file

    try:
        with open_file(file, "rt") as opened:
            return str(opened.read())
    except Exception as e:  # whatever fsspec says of a value, and what is no UTF-8
        message = f"{where}.paths_file: {file} cannot be read: {getattr(e, 'strerror', None) or e}"
        raise InputError(f"{message}\n  a file with a name on each line") from None
