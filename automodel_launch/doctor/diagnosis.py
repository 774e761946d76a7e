"""What `doctor` says: a line a matter, and how the matters that every executor has are judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from automodel_launch import backends, executors
from automodel_launch.errors import PlanRefused
from automodel_launch.remote.disk import Disk

FRAMEWORKS = tuple(framework.package for framework in backends.frameworks().values())
PACKAGES = ("torch", *FRAMEWORKS)
# Prints Python's version, then a line a package; nothing is imported, as torch alone can take a minute.
PROBE = """
import sys
print(sys.version.split()[0])
if sys.version_info < (3, 8): sys.exit()
import importlib.metadata as m
for name in sys.argv[1:]:
    try: print(name, m.version(name))
    except m.PackageNotFoundError: print(name)
"""
OLDEST_PYTHON = (3, 10)  # that recipes/ name in their metadata blocks
GIB = 2**30
FEW_GIB, FEW_INODES = 50, 100_000  # a checkpoint of an 8B model with its optimizer takes about 100 GiB
NO_GIB, NO_INODES = 1, 1_000


@dataclass(frozen=True)
class Line:
    """One matter: `what`, what was seen (`detail`), and what fixes it (`fix`)."""

    level: Literal["ok", "warn", "FAIL", "not checked"]
    what: str
    detail: str
    fix: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def submits(executor: str) -> Iterator[Line]:
    """NeMo-Run, where it submits the jobs: a dry run gets along without it."""
    try:
        version = executors.get(executor).ready()
    except PlanRefused as error:
        yield Line("FAIL", "NeMo-Run", error.message, error.hint)
        return
    if version:
        yield Line("ok", "NeMo-Run", version)


def job_root(disk: Disk) -> Iterator[Line]:
    """Where jobs' directories will lie: there or makeable, writable, with space."""
    if disk.error:
        yield Line("FAIL", "job root", f"{disk.root}: cannot be written: {disk.error}", "remote_job_dir, or its rights")
        return
    state = "there, writable" if disk.exists else f"not there yet; {disk.base} is writable"
    if disk.kind in ("tmpfs", "ramfs"):
        fix = "remote_job_dir on a file system that all nodes see and that outlives a restart"
        yield Line("warn", "job root", f"{disk.root}: {state}, but on {disk.kind}", fix)
    else:
        yield Line("ok", "job root", f"{disk.root}: {state}")
    gib = None if disk.free is None else disk.free // GIB
    yield _room("free space", gib, (NO_GIB, FEW_GIB), " GiB", "full disks end runs as NCCL time-outs; make room")
    yield _room("free inodes", disk.inodes, (NO_INODES, FEW_INODES), "", "remove small files")


def _room(what: str, free: int | None, limits: tuple[int, int], unit: str, fix: str) -> Line:
    if free is None:
        return Line("not checked", what, "the file system does not tell")
    detail = f"{free:,}{unit}"
    if free >= limits[1]:
        return Line("ok", what, detail)
    return Line("FAIL" if free < limits[0] else "warn", what, f"{detail} only", fix)


def training_python(python: str, code: int, text: str, excuse: str | None = None) -> Iterator[Line]:
    """The Python of the training processes and its packages, from what PROBE printed there.

    `excuse`: why what is missing here may be there in the job.
    """
    first, *rest = text.splitlines() or [""]
    bad: Literal["warn", "FAIL"] = "warn" if excuse else "FAIL"
    if code or not re.match(r"\d+\.\d+", first):
        said = " ".join(text.split())[-200:] or f"exit code {code}"
        yield Line(bad, "python", f"{python} does not work: {said}", excuse or "python = a path, in the profile")
        return
    major, minor = re.findall(r"\d+", first)[:2]
    if (int(major), int(minor)) < OLDEST_PYTHON:
        needed = f"{python} is {first}, and training needs {'.'.join(map(str, OLDEST_PYTHON))} or later"
        yield Line(bad, "python", needed, excuse or "python = the path of one that all nodes have, in the profile")
        return
    yield Line("ok", "python", f"{python}: {first}")
    found = {name: version for name, _, version in (line.partition(" ") for line in rest)}
    trains = any(found.get(name) for name in FRAMEWORKS)  # one is enough: two of them may rule each other out
    for name, version in found.items():
        if version:
            yield Line("ok", name, version)
        elif name not in FRAMEWORKS or not trains:
            yield Line(bad, name, f"{python} does not have it", excuse or "install it there, or give another `python`")
