"""The job's code on this node's own disk: one agent unpacks it there, and the ranks import it from there.

A rank opens some forty files of code/ and asks a thousand times for the times of its directories, all ranks within
seconds. Where `begin` has left an archive (code_archive.py), each node reads that one file instead. code/ stays what
people read, and what tracebacks name (code_names.py); the working directory stays there, too. Where no disk of the node
takes the copy, the ranks read code/ itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Iterator, Mapping

import contract

from . import code_archive
from .spec import Spec

if TYPE_CHECKING:
    import tarfile

PHASE = "copying the code to the node"
_PREFIX = "launch-code-"
_LOCK = ".lock"  # held by the agent whose copy it is
_UNLOCKED_S = 3600.0  # a copy without a lock is being made, unless it is as old as this
_MOUNTS = "/proc/self/mountinfo"
_OF_THE_NETWORK = re.compile(
    r"nfs\d?|lustre|gpfs|beegfs\w*|ceph|cifs|smb\d?|smbfs|afs|wekafs|panfs|pvfs2|orangefs|9p|virtiofs|fuse\..+|fuse"
)
_COMPILED = re.compile(r"\.so(\.\d+)*$")


@dataclass(frozen=True)
class Copy:
    """`folder` holds code/; `lock` is the descriptor that says that it is in use."""

    folder: str
    lock: int

    @property
    def code(self) -> str:
        """What stands for the job's code/."""
        return os.path.join(self.folder, contract.CODE)

    def of(self, spec: Spec) -> Spec:
        """The order with the copy in place of code/; what is relative to the working directory stays the same."""
        return replace(spec, code_dir=self.code, workdir=spec.directory)

    @property
    def agent(self) -> str:
        """The node agent's program, as the ranks are started by it."""
        return os.path.join(self.folder, contract.NODE_AGENT)

    def remove(self) -> None:
        """At the end of the training."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def make(spec: Spec, attempt: int, environ: Mapping[str, str], say: Callable[[str], None]) -> Copy | None:
    """Unpack the attempt's archive on a disk of this node; None where there is no archive, or no disk takes it."""
    path = code_archive.path_of(spec.job_dir, attempt)
    if not os.path.exists(path) or spec.code_dir != os.path.join(spec.job_dir, contract.CODE):
        return None
    import tarfile  # which a job of one node has no use for

    began, refused = time.monotonic(), []
    for place in _places(environ):
        remove_left(place)
        why = _unfit(place, spec.job_dir)
        try:
            copy = None if why else _unpacked(path, place)
        except (OSError, EOFError, tarfile.TarError, _NoExec) as error:
            why, copy = str(error), None
        if copy is not None:
            say(f"the ranks import the code from {copy.code}, in {time.monotonic() - began:.2f} s")
            return copy
        refused.append(f"{place}: {why}")
    say(f"each rank reads {spec.code_dir} itself, no disk of this node takes a copy: {'; '.join(refused)}")
    return None


def remove_left(place: str) -> None:
    """Remove copies of this user whose agents were killed."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(place)):
            if entry.name.startswith(_PREFIX) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _remove_unused(entry.path)


class _NoExec(Exception):
    pass


def _places(environ: Mapping[str, str]) -> Iterator[str]:
    """Directories that are a node's own at most sites, the site's word first."""
    given = [environ.get("SLURM_TMPDIR"), environ.get("TMPDIR"), tempfile.gettempdir(), "/tmp", "/dev/shm"]
    yield from dict.fromkeys(os.path.realpath(path) for path in given if path)


def _unfit(place: str, job_dir: str) -> str | None:
    try:
        device = os.stat(place).st_dev
        if device == os.stat(job_dir).st_dev:
            return "on the same file system as the job's directory"
    except OSError as error:
        return str(error.strerror)
    kind = _kind(device)
    return f"on {kind}, a file system of the network" if kind and _OF_THE_NETWORK.fullmatch(kind) else None


def _kind(device: int) -> str | None:
    """The type of a file system, None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError), open(_MOUNTS, encoding="utf-8", errors="replace") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                return after.split()[0]
    return None


def _unpacked(path: str, place: str) -> Copy:
    import tarfile

    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
    lock = -1
    try:
        lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with tarfile.open(path, "r:gz") as archive:
            _extract(archive, folder, bool(os.statvfs(place).f_flag & os.ST_NOEXEC))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)
        raise
    return Copy(folder, lock)


def _extract(archive: tarfile.TarFile, folder: str, noexec: bool) -> None:
    """Regular files only, which is what `code_archive` packs."""
    import tarfile

    for member in archive:
        if not member.isfile() or os.path.isabs(member.name) or ".." in member.name.split("/"):
            raise tarfile.TarError(f"{member.name} is no file of the job's code")
        if noexec and _COMPILED.search(member.name):
            raise _NoExec(f"mounted noexec, and {member.name} is a shared library")
        target = os.path.join(folder, member.name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        content = archive.extractfile(member)
        with open(target, "wb") as file:
            shutil.copyfileobj(content, file)  # type: ignore[arg-type]  # None for what is no file
        os.chmod(target, 0o700 if member.mode & 0o100 else 0o600)


def _remove_unused(folder: str) -> None:
    try:
        lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR)
    except FileNotFoundError:
        if time.time() - os.stat(folder).st_mtime > _UNLOCKED_S:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # in use
    finally:
        os.close(lock)
