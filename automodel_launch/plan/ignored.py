"""What of a folder git knows should stay here: the ignore lists of its repository and of those nested in it.

And what of it is not there: submodules that were never initialised.
"""

from __future__ import annotations

import os
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

from automodel_launch.errors import ConfigError
from automodel_launch.plan import gitstate

_LIST = ("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
_GITLINK = "160000"


def below(folder: Path) -> set[Path]:
    """Files and folders that the ignore lists of the folder's repository name; none where it lies in no repository.

    Raises:
        ConfigError: there is a repository, and git does not tell: it would be unknown what must not travel.
    """
    repository = gitstate.top(folder)
    if repository is None:
        return set()
    hint = 'packager = "pattern" takes what its globs name, whatever git ignores'
    try:
        environ = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run([*gitstate.GIT, *_LIST], cwd=folder, env=environ, capture_output=True, check=False)
    except OSError as error:
        reason = f"git cannot be started ({error.strerror})"
        raise ConfigError(f"code: {repository} has ignore lists, and {reason}.", f"install git; {hint}") from None
    said = " ".join(done.stderr.decode(errors="replace").split())
    if done.returncode and "not a git repository" not in said:
        trust = f"git config --global --add safe.directory {repository}; " if "safe.directory" in said else ""
        reason = said.partition(" To add")[0].removeprefix("fatal: ")
        raise ConfigError(f"code: what of {repository} git ignores is not known: git says: {reason}", trust + hint)
    return {folder / name.rstrip("/") for name in done.stdout.decode(errors="surrogateescape").split("\0") if name}


def holds_credentials(name: str) -> bool:
    """The file's name is one of those that credentials are kept in."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in gitstate.CREDENTIALS)


def empty_submodules(path: Path) -> list[Path]:
    """Submodules at or below a path that were never initialised: nothing is there."""
    return [link for link in _submodules(path) if not link.is_dir() or not any(link.iterdir())]


def submodules_below(path: Path) -> list[Path]:
    """Submodules below a path, initialised or not."""
    return [link for link in _submodules(path) if link != path]


def _submodules(path: Path) -> list[Path]:
    repository = gitstate.top(path)
    if repository is None:
        return []
    name = path.relative_to(repository).as_posix()
    said = gitstate.ask(repository, "ls-files", "--stage", "-z", "--", name)
    entries = said.decode(errors="surrogateescape").split("\0") if said else []
    return [repository / entry.partition("\t")[2] for entry in entries if entry.startswith(_GITLINK)]
