"""Folders of an agent on a disk of its own node: where they may be, and what is left of agents that were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from typing import Iterator, Mapping

import contract

from .patterns import pattern

CODE_PREFIX = "launch-code-"
_PREFIXES = (CODE_PREFIX, contract.VENV_COPY)
_LOCK = ".lock"  # held by the agent whose folder it is
_UNLOCKED_S = 3600.0  # what has no lock is being made, unless it is as old as this
_MOUNTS = "/proc/self/mountinfo"
_OF_THE_NETWORK = pattern(
    r"nfs\d?|lustre|gpfs|beegfs\w*|ceph|cifs|smb\d?|smbfs|afs|wekafs|panfs|pvfs2|orangefs|9p|virtiofs|fuse\..+|fuse"
)


@dataclass(frozen=True)
class Folder:
    """`lock` is the descriptor that says that it is in use."""

    path: str
    lock: int

    def remove(self) -> None:
        """Called once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make(place: str, prefix: str) -> Folder:
    """A new folder for this user alone.

    Raises:
        OSError: nothing can be made there.
    """
    path = tempfile.mkdtemp(prefix=prefix, dir=place)
    lock = -1
    try:
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        if lock >= 0:
            os.close(lock)
        raise
    return Folder(path, lock)


def places(environ: Mapping[str, str]) -> Iterator[str]:
    """Directories that are a node's own at most sites, the site's word first."""
    given = [environ.get("SLURM_TMPDIR"), environ.get("TMPDIR"), tempfile.gettempdir(), "/tmp", "/dev/shm"]
    yield from dict.fromkeys(os.path.realpath(path) for path in given if path)


def of_the_network(place: str) -> str | None:
    """In words, where the file system of a directory is no disk of this node; None where it is, or does not tell.

    Raises:
        OSError: there is no such directory.
    """
    kind = _kind(os.stat(place).st_dev)
    return f"on {kind}, a file system of the network" if kind and _OF_THE_NETWORK.fullmatch(kind) else None


def noexec(place: str) -> bool:
    """Whether no program and no shared library can be started from there."""
    return bool(os.statvfs(place).f_flag & os.ST_NOEXEC)


def remove_left(place: str, keep: str = "") -> None:
    """Remove what is left there of this user's agents that were killed; `keep`: a file that is still to be read."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(place)):
            if not entry.name.startswith(_PREFIXES) or entry.name == os.path.basename(keep):
                continue
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _remove_unused(entry)


def _remove_unused(entry: os.DirEntry[str]) -> None:
    found = entry.stat(follow_symlinks=False)
    old = time.time() - found.st_mtime > _UNLOCKED_S
    if stat.S_ISREG(found.st_mode):  # an archive of a job whose agent has never come to it
        if old:
            os.unlink(entry.path)
        return
    try:
        lock = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR)
    except FileNotFoundError:
        if old:
            shutil.rmtree(entry.path, ignore_errors=True)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry.path, ignore_errors=True)
    except OSError:
        pass  # in use
    finally:
        os.close(lock)


def _kind(device: int) -> str | None:
    """The type of a file system, None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError), open(_MOUNTS, encoding="utf-8", errors="replace") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                return after.split()[0]
    return None
