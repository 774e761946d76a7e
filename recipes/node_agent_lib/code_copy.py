"""The job's code on this node's own disk: one agent unpacks it there, and the ranks import it from there.

A rank opens some forty files of code/ and asks a thousand times for the times of its directories, all ranks within
seconds. Where `begin` has left an archive (code_archive.py), each node reads that one file instead. code/ stays what
people read, and what tracebacks name (code_names.py); the working directory stays there, too. Where no disk of the node
takes the copy, the ranks read code/ itself.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Mapping

import contract

from . import code_archive, node_disk
from .node_disk import Folder
from .patterns import pattern
from .spec import Spec

if TYPE_CHECKING:
    import tarfile

PHASE = "copying the code to the node"
_COMPILED = pattern(r"\.so(\.\d+)*$")


@dataclass(frozen=True)
class Copy:
    """A folder that holds code/."""

    folder: Folder

    @property
    def code(self) -> str:
        """What stands for the job's code/."""
        return os.path.join(self.folder.path, contract.CODE)

    def of(self, spec: Spec) -> Spec:
        """The order with the copy in place of code/; what is relative to the working directory stays the same."""
        return replace(spec, code_dir=self.code, workdir=spec.directory)

    @property
    def agent(self) -> str:
        """The node agent's program, as the ranks are started by it."""
        return os.path.join(self.folder.path, contract.NODE_AGENT)

    def remove(self) -> None:
        """At the end of the training."""
        self.folder.remove()


def make(spec: Spec, attempt: int, environ: Mapping[str, str], say: Callable[[str], None]) -> Copy | None:
    """Unpack the attempt's archive on a disk of this node; None where there is no archive, or no disk takes it."""
    path = code_archive.path_of(spec.job_dir, attempt)
    if not os.path.exists(path) or spec.code_dir != os.path.join(spec.job_dir, contract.CODE):
        return None
    import tarfile  # which a job of one node has no use for

    began, refused = time.monotonic(), []
    for place in node_disk.places(environ):
        node_disk.remove_left(place)
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


class _NoExec(Exception):
    pass


def _unfit(place: str, job_dir: str) -> str | None:
    try:
        if os.stat(place).st_dev == os.stat(job_dir).st_dev:
            return "on the same file system as the job's directory"
    except OSError as error:
        return str(error.strerror)
    return node_disk.of_the_network(place)


def _unpacked(path: str, place: str) -> Copy:
    import tarfile

    folder = node_disk.make(place, node_disk.CODE_PREFIX)
    try:
        with tarfile.open(path, "r:gz") as archive:
            _extract(archive, folder.path, node_disk.noexec(place))
    except BaseException:
        folder.remove()
        raise
    return Copy(folder)


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
