"""The index of Megatron data on disk: written whole or not at all, and what a killed process has left half is no index.

AutoModel 0.7.0 writes each .npy in place, and takes an index as there once its files exist. A rank 0 that is killed
while it writes the last of them leaves a truncated one, and every later start of the run fails where it maps that file
("mmap length is greater than file size"). So numpy.save writes beside the file and renames while an index is built,
and truncated files are removed before; AutoModel then builds that index again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract

from . import phase
from .output import is_main, say

_BUILDER = "nemo_automodel.components.datasets.llm.megatron.builder"
_WRITTEN_S = 600.0  # outside of the run's own directory another job may be at it, and not by rename


def install() -> None:
    """Have AutoModel's builder of Megatron data do so; nothing where the config has no such data."""
    module = sys.modules.get(_BUILDER)
    builder = getattr(module, "BlendedMegatronDatasetBuilder", None)
    if builder is None or getattr(builder.build, "_whole", False):
        return
    build = builder.build

    @functools.wraps(build)
    def whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        with phase.during("building the index of the data"), saved_whole():
            cache = getattr(getattr(self, "config", None), "path_to_cache", None)
            if cache and is_main():
                remove_truncated(Path(cache))
            return build(self, *args, **kwargs)

    whole._whole = True  # type: ignore[attr-defined]
    builder.build = whole


@contextlib.contextmanager
def saved_whole() -> Iterator[None]:
    """numpy.save to a path renames meanwhile."""
    import numpy

    save, mode = numpy.save, 0o666 & ~_umask()  # of the process: asked before the builder has threads

    def save_whole(file: Any, array: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(file, (str, os.PathLike)):
            save(file, array, *args, **kwargs)
            return
        target = Path(os.fspath(file) if os.fspath(file).endswith(".npy") else f"{os.fspath(file)}.npy")
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
        temporary = Path(name)
        try:
            with open(descriptor, "wb") as stream:
                save(stream, array, *args, **kwargs)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(mode)  # mkstemp's is the owner's alone; other users may share the index
            temporary.replace(target)
        except BaseException:
            temporary.unlink()
            raise

    numpy.save = save_whole  # type: ignore[assignment]
    try:
        yield
    finally:
        numpy.save = save


def remove_truncated(directory: Path) -> None:
    """Remove the .npy files there that are shorter than their headers say."""
    run_dir = os.environ.get(contract.RUN_DIR_VAR)
    own = run_dir is not None and Path(run_dir).resolve() in directory.resolve().parents
    for path in sorted(directory.glob("*.npy")):
        with contextlib.suppress(OSError):
            if is_truncated(path) and (own or time.time() - path.stat().st_mtime > _WRITTEN_S):
                path.unlink()
                say(f"removed {path}: it is truncated, as a process that was killed leaves it; it is built again")


def is_truncated(path: Path) -> bool:
    """Whether the file ends before the array that its header announces."""
    from numpy.lib import format as npy

    with path.open("rb") as stream:
        try:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(stream)
        except ValueError:
            return True
        count = 1
        for length in shape:
            count *= length
        return path.stat().st_size < stream.tell() + count * dtype.itemsize


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
