"""`venv_archive`: the job's Python comes out of an archive, which each node unpacks on a disk of its own.

The batch script has had Slurm copy the archive to the nodes (sbcast); where that did not work, and on the one node of a
small job, the archive itself is read: one file a node, not the tens of thousands that each rank opens of a Python on a
shared file system. Unlike the job's code (code_copy.py) there is nothing to fall back to where no disk takes it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from dataclasses import replace
from typing import Mapping

import contract

from . import environment, node_disk, procs
from .control import Control
from .errors import NodeFailure
from .journal import Journal
from .spec import Spec
from .startup import unnamed

PHASE = "unpacking the Python on the node"
_TOP = "venv"
_PYTHON = os.path.join("bin", "python")
_STARTS = "import encodings, os, subprocess"
_FULL = ("No space left on device", "Disk quota exceeded")


class Venv:
    """Contract: one per agent; `remove` is called when nothing of the job runs any more, unpacked or not."""

    def __init__(self, archive: str, journal: Journal, control: Control, directory: str) -> None:
        """`directory` is private to the agent."""
        self._archive = archive
        self._journal = journal
        self._say = journal.log.say
        self._control = control
        self._directory = directory
        self._folder: node_disk.Folder | None = None

    def unpack(self, spec: Spec, environ: Mapping[str, str]) -> Spec:
        """The order with the Python that has been unpacked.

        Raises:
            NodeFailure: it cannot be, or does not start here; or another node has failed meanwhile.
            Stopped: the job was asked to stop meanwhile.
        """
        began = time.time()
        self._journal.note_phase(PHASE, began)
        self._journal.enter(contract.NODE_STARTUP)
        source = self._source(environ)
        top = self._on_a_disk(source, environ)
        forget(environ)
        root = self._root(top)
        python = os.path.join(root, _PYTHON)
        self._try(python)
        self._journal.note_phase(None)
        self._journal.past_phases(contract.BY_AGENT, [{"phase": PHASE, "since": began, "until": time.time()}])
        self._say(f"the job's Python is {python}, out of {source}, in {time.time() - began:.1f} s")
        return replace(spec, python=python, env={contract.VENV_VAR: root, **spec.env})

    def remove(self) -> None:
        """Nothing of it stays on the node."""
        forget(os.environ)
        self._drop()

    def _drop(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _source(self, environ: Mapping[str, str]) -> str:
        """What Slurm has copied, where that is ours and complete; another user could have put a file there."""
        copy = environ.get(contract.VENV_ARCHIVE_VAR)
        if not copy:
            return self._archive
        try:
            found = os.lstat(copy)
            own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            why = None if own else "it is not this job's"
        except OSError as error:
            why = error.strerror
        with contextlib.suppress(OSError):  # a node need not see the archive itself
            if why is None and os.stat(self._archive).st_size != found.st_size:
                why = "it has another size than the archive"
        if why is None:
            return copy
        self._say(f"{copy}: {why}: reading {self._archive} itself")
        return self._archive

    def _on_a_disk(self, source: str, environ: Mapping[str, str]) -> str:
        if not os.access(source, os.R_OK):
            raise NodeFailure(contract.NOT_FOUND, f"{self._named} cannot be read on this node")
        refused = []
        for place in node_disk.places(environ):
            try:
                node_disk.remove_left(place, keep=source)  # a spare node's copy may be days old
                why = node_disk.of_the_network(place) or ("mounted noexec" if node_disk.noexec(place) else None)
                why = why or self._unpacked(source, place)
            except OSError as error:
                self._drop()
                why = str(error.strerror)
            if why is None and self._folder is not None:
                return os.path.join(self._folder.path, _TOP)
            refused.append(f"{place}: {why}")
        raise NodeFailure(1, f"{self._named}: no disk of this node takes it: {'; '.join(refused)}")

    def _unpacked(self, source: str, place: str) -> str | None:
        """None, or that there is no room."""
        self._folder = node_disk.make(place, contract.VENV_COPY)
        top = os.path.join(self._folder.path, _TOP)
        os.mkdir(top)
        code, said = self._run(["tar", "-x", "-o", "-f", source, "-C", top])
        if code == 0:
            return None
        self._drop()
        full = next((word for word in _FULL if word in said), None)
        if full is not None:
            return full
        error = f"{self._named} cannot be unpacked, it is damaged or of a kind that tar has no program for here"
        raise NodeFailure(contract.CANNOT_BE_USED, f"{error}: {_line(said)}")

    def _root(self, top: str) -> str:
        """Where bin/ lies: at the top, or in the one folder that the archive holds."""
        names = sorted(os.listdir(top))
        for root in [top, *(os.path.join(top, name) for name in names[:1] if len(names) == 1)]:
            if os.path.lexists(os.path.join(root, _PYTHON)):
                return root
        held = ", ".join(names[:5]) or "nothing"
        error = f"{self._named} has no {_PYTHON}, it holds {held}: tar -czf {self._archive} -C ENVIRONMENT ."
        raise NodeFailure(contract.CANNOT_BE_USED, error)

    def _try(self, python: str) -> None:
        if not os.path.exists(python):
            error = f"{self._named}: its {_PYTHON} is a link to {os.path.realpath(python)}, which this node has not"
            raise NodeFailure(contract.NOT_FOUND, f"{error}; venv-pack and conda-pack make archives with all in them")
        code, said = self._run([python, "-c", _STARTS])
        if code:
            error = f"{self._named}: its {_PYTHON} does not start on this node ({os.uname().machine})"
            raise NodeFailure(contract.NOT_FOUND, f"{error}: {_line(said) or f'exit code {code}'}")

    @property
    def _named(self) -> str:
        return f"venv_archive {self._archive}"

    def _run(self, command: list[str]) -> tuple[int, str]:
        """Exit code and output; meanwhile the agent does what an agent does."""
        agent = os.getpid()
        # in memory: the disk may be full, and then it has to be said
        with os.fdopen(unnamed(self._directory), "w+", encoding="utf-8", errors="replace") as output:
            try:
                process = subprocess.Popen(
                    command,
                    env={**os.environ, "LC_ALL": "C"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=lambda: procs.die_with_parent(agent),
                )
            except OSError as error:  # no tar; a program of another architecture
                return contract.NOT_FOUND, f"{command[0]}: {error.strerror}"
            process.returncode = 0  # the agent reaps its children itself
            code = environment.wait(self._control, process.pid)
            output.seek(0)
            return code, output.read()


def forget(environ: Mapping[str, str]) -> None:
    """Remove what Slurm has copied to this node."""
    with contextlib.suppress(OSError):
        os.unlink(environ.get(contract.VENV_ARCHIVE_VAR) or "")


def _line(said: str) -> str:
    """The first line says what is wrong, the later ones what follows from it."""
    return next((line.strip() for line in said.splitlines() if line.strip()), "")
