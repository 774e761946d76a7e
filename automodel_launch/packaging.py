"""Which files travel with a job: recipes/, and the user's own code, as they lie on disk at this moment."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.errors import ConfigError

LIMIT_BYTES = 100 * 10**6
_SKIPPED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class PlannedFile:
    """One file of the job's directory: where it comes from, and what it is there. `path` is relative to that."""

    path: str
    source: Path
    bytes: int
    sha256: str


def collect(recipes: Path, recipe: Path, code: Iterable[str], base: Path) -> tuple[PlannedFile, ...]:
    """Everything below `code/` in the job's directory, sorted by path.

    `recipe` is the script to run; one from elsewhere than `recipes` travels too. `code` are paths relative to `base`.

    Raises:
        ConfigError: a path of `code` does not exist or leaves `base`, or more than 100 MB would travel.
    """
    found: dict[str, Path] = {f"recipes/{file.relative_to(recipes).as_posix()}": file for file in _files(recipes)}
    if not recipe.is_relative_to(recipes):
        found[recipe.name] = recipe
    for written in code:
        root = (base / Path(written).expanduser()).resolve()
        if not root.exists():
            raise ConfigError(f"code: {written!r}: no such file or folder below {base}.")
        if not root.is_relative_to(base.resolve()) or root == base.resolve():
            raise ConfigError(f"code: {written!r} does not lie below {base}.", "give paths relative to the checkout")
        for file in _files(root):
            found[file.relative_to(base.resolve()).as_posix()] = file
    _refuse_too_much(found)
    return tuple(_planned(f"code/{name}", found[name]) for name in sorted(found))


def verify(files: Iterable[PlannedFile]) -> None:
    """Refuse files that are no longer what the plan was made of.

    Raises:
        ConfigError: one has changed.
    """
    for file in files:
        if hashlib.sha256(file.source.read_bytes()).hexdigest() != file.sha256:
            raise ConfigError(f"{file.source} has changed since the plan was made; nothing was submitted.", "try again")


def _planned(name: str, source: Path) -> PlannedFile:
    content = source.read_bytes()
    return PlannedFile(name, source, len(content), hashlib.sha256(content).hexdigest())


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    ignored = _git_ignored(root)
    for folder, folders, names in os.walk(root):
        wanted = [Path(folder, d) for d in folders if d not in _SKIPPED and Path(folder, d) not in ignored]
        links = [path for path in wanted if path.is_symlink()]
        if links:
            raise ConfigError(
                f"code: {links[0]} is a link to a folder; such ones do not travel.",
                "copy the folder, or name the link in .gitignore",
            )
        folders[:] = sorted(d for d in folders if d not in _SKIPPED and Path(folder, d) not in ignored)
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix != ".pyc" and path.is_file() and path not in ignored:
                yield path


def _git_ignored(root: Path) -> set[Path]:
    """Files and folders that .gitignore names; none where git or a repository is missing."""
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return set()
    return {root / name.rstrip("/") for name in done.stdout.decode(errors="surrogateescape").split("\0") if name}


def _refuse_too_much(found: dict[str, Path]) -> None:
    sizes = {name: path.stat().st_size for name, path in found.items()}
    total = sum(sizes.values())
    if total <= LIMIT_BYTES:
        return
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    listed = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
    raise ConfigError(
        f"code: {total / 1e6:.1f} MB would travel; the limit is {LIMIT_BYTES // 10**6} MB. The largest: {listed}.",
        "put data on the shared file system, or name the large files in .gitignore",
    )
