"""This machine's cache of the Hugging Face hub (huggingface_hub: models--ORG--NAME/refs, /snapshots/REVISION)."""

from __future__ import annotations

import os
from pathlib import Path


def is_path(value: str, relative: bool = True) -> bool:
    """A directory, and no hub id; `relative`: this machine is the job's, so that also a relative path is known."""
    return value.startswith(("/", "./", "../", "~")) or (relative and os.path.isdir(value))  # noqa: PTH112  # a long name


def has(repository: str) -> bool:
    """Some files of a repository have been downloaded."""
    return _folder(repository).is_dir()


def cached(repository: str, name: str) -> Path | None:
    """A file of a repository's main revision, if it is in the cache."""
    if repository.startswith(("/", ".", "~")) or repository.count("/") > 1:
        return None
    folder = _folder(repository)
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        path = folder / "snapshots" / (revision or "-") / name
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def home() -> Path:
    """HF_HOME, by its default where it is not set; it holds the token that `hf auth login` has stored."""
    return Path(
        os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    ).expanduser()


def _folder(repository: str) -> Path:
    hub = Path(os.environ.get("HF_HUB_CACHE") or home() / "hub").expanduser()
    return hub / f"models--{repository.replace('/', '--')}"
