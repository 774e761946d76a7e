"""The job's code as one archive: written by `begin`, once an attempt, for the agents of all nodes (code_copy.py).

It holds the files of code/ that the launcher has put there, as they are now, and modules that somebody has added to
them. What a training leaves in its working directory, which is code/ too, is not looked at.
"""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Iterator

import contract

from .files import read_json

_PREFIX = contract.between_agents("code", 0)[:-1]
_SKIPPED = "__pycache__"


def path_of(job_dir: str, attempt: int) -> str:
    """Where the archive of an attempt lies."""
    return os.path.join(job_dir, contract.between_agents("code", attempt))


def write(job_dir: str, attempt: int, say: Callable[[str], None]) -> None:
    """Pack code/; where that cannot be done, the ranks read code/ itself."""
    import compileall  # both are for `begin` alone, and every agent imports this module
    import tarfile

    forget(job_dir)
    # else every node's agent would write the byte code of the same modules, all within a second
    compileall.compile_dir(os.path.dirname(os.path.abspath(__file__)), quiet=2)
    path = path_of(job_dir, attempt)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with tarfile.open(temporary, "w:gz", compresslevel=1, dereference=True) as archive:
            for name in sorted(_files(job_dir)):
                archive.add(os.path.join(job_dir, name), name, recursive=False)
        os.replace(temporary, path)
    except Exception as error:  # whatever it is: the job runs without, and `begin` has more to say
        say(f"the code is not packed for the nodes, each rank reads {job_dir}/{contract.CODE} itself: {error}")
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def forget(job_dir: str) -> None:
    """Remove the archives of all attempts."""
    with contextlib.suppress(OSError):
        for name in os.listdir(job_dir):
            if name.startswith(_PREFIX):
                os.unlink(os.path.join(job_dir, name))


def _files(job_dir: str) -> Iterator[str]:
    """Relative to the job's directory."""
    plan = read_json(os.path.join(job_dir, contract.PLAN)) or {}
    planned = {each["path"] for each in plan["files"] if each["path"].startswith(f"{contract.CODE}/")}
    for top in sorted({name.split("/")[1] for name in planned}):
        yield from _below(job_dir, f"{contract.CODE}/{top}", planned)


def _below(job_dir: str, top: str, planned: set[str]) -> Iterator[str]:
    start = os.path.join(job_dir, top)
    if os.path.isfile(start):
        yield top
    for folder, folders, names in os.walk(start):
        folders[:] = [name for name in folders if name != _SKIPPED]
        relative = os.path.relpath(folder, job_dir)
        for name in (f"{relative}/{name}" for name in names):
            if name in planned or name.endswith(".py"):
                yield name
