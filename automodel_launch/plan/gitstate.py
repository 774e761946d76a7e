"""What git knows of the code that travels: its commit, what is uncommitted. Without git or a repository: nothing.

Only asked, never changed: no lock is taken, and neither hooks nor external diff programs run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 10 * 10**6
PATIENCE_S = 30  # a work tree on a slow network file system; its state is a courtesy, never a reason to wait longer
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")
GIT = (*_GIT, "--literal-pathspecs")
# Files that credentials are kept in, and env.toml, which holds hosts, accounts and variables of a person: their changes
# stay here.
CREDENTIALS = (
    *(".env", ".env.*", "*.env", ".envrc", "*.pem", "*.p12", "*.pfx", "*.key", "*.keystore", "*.kdbx", ".htpasswd"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials"),
    *(".pgpass", "credentials", "credentials.json", "secrets.json", "secrets.toml", "secrets.y*ml", "env.toml"),
)


_known: ContextVar[dict[Hashable, tuple[bytes, bool] | None] | None] = ContextVar("known", default=None)


@dataclass(frozen=True)
class Changes:
    """Paths relative to the work tree's top that differ from HEAD, and those that git does not know."""

    changed: frozenset[str]
    untracked: frozenset[str]


def top(path: Path) -> Path | None:
    """The top of the work tree that holds a path, whether or not that exists: the nearest folder with a `.git`."""
    return next((folder for folder in (path, *path.parents) if (folder / ".git").exists()), None)


def tops(paths: Iterable[Path]) -> list[Path]:
    """The work trees that hold these files, sorted; a folder is looked at once, however many files it has."""
    found = {top(folder) for folder in {path.parent for path in paths}}
    return sorted(folder for folder in found if folder is not None)


def changes(repository: Path, paths: Iterable[str] = ()) -> Changes | None:
    """What is uncommitted at or below the paths (default: anywhere); None where git cannot tell."""
    said = _git(repository, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    if said is None:
        return None
    entries = [(item[:2], item[3:]) for item in said[0].decode(errors="surrogateescape").split("\0") if item]
    untracked = frozenset(name for mark, name in entries if mark == "??")
    return Changes(frozenset(name for _, name in entries) - untracked, untracked)


def record(root: Path, files: Iterable[Path], private: Path | None = None) -> dict[str, str]:
    """Files of the job's directory that tell the state of the checkout and of each work tree that files come from.

    `git/commit`, `git/diff.patch` and `git/untracked.txt` are the checkout's; those of a work tree inside it lie in a
    folder of its name. The diff leaves out env.toml, `private` and files of credentials.
    """
    own = top(root)
    texts: dict[str, str] = {}
    for repository in sorted({*tops(files), *([own] if own else [])}):
        folder = "git" if repository == own else f"git/{_name(repository, root)}"
        texts.update({f"{folder}/{name}": text for name, text in _state(repository, private).items()})
    return texts


def _name(repository: Path, root: Path) -> str:
    return repository.relative_to(root).as_posix() if repository.is_relative_to(root) else repository.name


def _state(repository: Path, private: Path | None) -> dict[str, str]:
    commit = _git(repository, "rev-parse", "--verify", "HEAD")
    diff = _git(repository, *_DIFF, *_left_out(repository, private), git=_GIT)
    untracked = _git(repository, "ls-files", "--others", "--exclude-standard", "--full-name")
    found = {"commit": commit, "diff.patch": diff, "untracked.txt": untracked}
    return {name: _shown(*said) for name, said in found.items() if said is not None}


_DIFF = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".")


def _left_out(repository: Path, private: Path | None) -> list[str]:
    own = private.relative_to(repository).as_posix() if private and private.is_relative_to(repository) else None
    patterns = [f":(exclude,icase,glob)**/{pattern}" for pattern in CREDENTIALS]
    return [*patterns, *([f":(exclude,literal){own}"] if own else [])]


def ask(repository: Path, *command: str) -> bytes | None:
    """Output of a git command; None where git cannot tell."""
    said = _git(repository, *command)
    return None if said is None else said[0]


def _shown(content: bytes, whole: bool) -> str:
    text = content.decode(errors="surrogateescape")
    return text if whole else f"{text}\n# cut here: there is more than {LIMIT_BYTES // 10**6} MB\n"


@contextmanager
def asked_once() -> Iterator[None]:
    """Within it equal questions have one answer: plans that are checked together travel from one work tree."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def _git(repository: Path, *command: str, git: tuple[str, ...] = GIT) -> tuple[bytes, bool] | None:
    """Output of a git command, and whether that is all of it; None where there is no git, or it refuses or is slow."""
    known, key = _known.get(), (repository, command, git)
    if known is None:
        return _answer(repository, command, git)
    if key not in known:
        known[key] = _answer(repository, command, git)
    return known[key]


def _answer(repository: Path, command: tuple[str, ...], git: tuple[str, ...]) -> tuple[bytes, bool] | None:
    try:
        process = subprocess.Popen(
            [*git, *command],
            cwd=repository,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    with process:
        watch = _Watch(process)
        assert process.stdout is not None
        content = process.stdout.read(LIMIT_BYTES + 1)
        whole = len(content) <= LIMIT_BYTES
        if not whole:
            process.kill()
        process.wait()
        late = watch.end()
    return None if late or (whole and process.returncode) else (content[:LIMIT_BYTES], whole)


class _Watch:
    """Kills a process that takes too long: a blocking read has no time limit of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        import threading

        self._late = False
        self._process = process
        self._timer = threading.Timer(PATIENCE_S, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        self._late = True
        self._process.kill()

    def end(self) -> bool:
        """Whether it was killed."""
        self._timer.cancel()
        return self._late
