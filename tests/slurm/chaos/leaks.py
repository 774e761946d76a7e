"""The secret stands in one file of the owner's while a job needs it, and nowhere when none does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.slurm.chaos.place import MARK, Place
from tests.slurm.chaos.tally import LEAK, Finding

FILE = "secrets.env"
SHARED = Path("/tmp")  # this machine's
MOST = 64 * 2**20  # of a file that is read


def find(place: Place, job_lives: bool) -> list[Finding]:
    """Look at the job root, the records, the nodes' /tmp, Slurm's own files, this machine's /tmp and command lines."""
    found = [Finding(LEAK, f"the secret stands in {path}") for path in _files(place) if not _is_due(path, job_lives)]
    return found + [Finding(LEAK, f"the secret stands in a command line: {line}") for line in _command_lines(place)]


def _is_due(path: Path, job_lives: bool) -> bool:
    """In the job's file, or in an agent's private directory, both for the owner only."""
    try:
        private = not stat.S_IMODE(path.stat().st_mode) & 0o077
    except OSError:
        return True  # gone meanwhile
    return job_lives and private


def _files(place: Place) -> Iterator[Path]:
    roots = (place.disk.path, place.records.path, place.cluster.dir)
    seen = set(roots)
    for root in (*roots, SHARED):
        for path in _walk(root, place.began if root == SHARED else 0.0, seen - {root}):
            try:
                if place.token.encode() in path.read_bytes():
                    yield path
            except OSError:
                continue


def _walk(root: Path, since: float, without: set[Path]) -> Iterator[Path]:
    """Files that were changed since then; other file systems and other people's are not looked at."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if Path(folder, name) not in without]
        for name in files:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            mine = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
            if mine and status.st_mtime >= since and status.st_size < MOST and name != "somebody-elses":
                yield path


def _command_lines(place: Place) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if place.token.encode() in text and MARK.encode() not in text:
            yield text.replace(b"\0", b" ").decode(errors="replace").replace(place.token, "***")
