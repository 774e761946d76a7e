"""Directories that the configuration names, of which it can be told without writing that nothing could be written."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import datasets
from .failure import Fault

_CHECKPOINTS = "checkpoint.checkpoint_dir"
_OF_THE_KERNEL = ("/proc", "/sys", "/dev")  # but not /dev/shm
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGES = {  # fsspec 2026.4: known_implementations; torch's checkpoint writer asks it for every path with a scheme
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "hf": "huggingface_hub"
}  # fmt: skip


def check(config: Any, job_python: bool) -> None:
    """Refuse a directory in which nothing can be made.

    Raises:
        Fault: there is one; its type is what the job would raise.
    """
    for key, value in _given(config):
        scheme = _SCHEME.match(value)
        if scheme and scheme[1] != "msc":
            package = _PACKAGES.get(scheme[1])
            if package and job_python and importlib.util.find_spec(package) is None:
                raise Fault("ModuleNotFoundError", f"{key} is {value}: the package {package} is not installed", key)
            continue
        if not value or scheme:
            continue
        path = Path(os.path.abspath(value))  # noqa: PTH100  links are looked at below
        if any(path.is_relative_to(place) for place in _OF_THE_KERNEL) and not path.is_relative_to("/dev/shm"):
            raise Fault("PermissionError", f"{key} is {value}: the kernel's own files are there, no others", key)
        there = next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())
        if job_python and there.exists() and not there.is_dir():
            raise Fault("NotADirectoryError", f"{key} is {value}: {there} is a file", key)


def _given(config: Any) -> Iterator[tuple[str, str]]:
    saves = config.get("checkpoint.enabled", True)
    data = datasets.keys(config.to_dict())
    for key in (*([_CHECKPOINTS] if saves else []), *(f"{key}.index_mapping_dir" for key in data)):
        value = config.get(key, None)
        if isinstance(value, (str, os.PathLike)):
            yield key, str(value)
