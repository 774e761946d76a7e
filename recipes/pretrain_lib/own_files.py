"""Files in places where others may write, /tmp and a shared job root: taken only where they are this user's own.

What is read here is code that is then run, so a file of another user, one that others may write, and one that is not
what its name says is never taken.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Refused(Exception):
    """A directory or file is not to be trusted; the message is one line that says why."""


def private_directory(path: Path) -> Path:
    """`path`, made where it is missing.

    Raises:
        Refused: it belongs to somebody else, others may write there, or it is a link.
        OSError: it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(path, os.lstat(path), stat.S_ISDIR, "a directory")
    return path


def read_own(path: Path) -> bytes:
    """The content of a file.

    Raises:
        Refused: it belongs to somebody else, others may write it, or it is a link or no file.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor), stat.S_ISREG, "a file")
        return file.read()


def write_own(path: Path, content: bytes) -> None:
    """Write a file that readers see whole or not at all, and that only its owner can read."""
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def digest(content: bytes) -> str:
    """What tells a whole file from a damaged one; part of its name."""
    return hashlib.sha256(content).hexdigest()


def _check(path: Path, found: os.stat_result, kind: object, name: str) -> None:
    if not callable(kind) or not kind(found.st_mode):
        raise Refused(f"{path} is not {name}")
    if found.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to uid {found.st_uid}")
    if found.st_mode & _OTHERS_WRITE:
        raise Refused(f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):o})")
