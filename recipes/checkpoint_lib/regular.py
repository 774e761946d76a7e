"""Files as they are read here: regular ones only. To open a pipe would wait for its writer, for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def content(path: Path) -> bytes:
    """What is in the file.

    Raises:
        FileNotFoundError: It is not there, or no regular file (a pipe, a device, a directory).
        OSError: It cannot be read.
    """
    # os.open, and not a look beforehand: the name may be another thing's by the time it is opened
    number = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise FileNotFoundError(errno.ENOENT, "is no regular file", str(path))
    with os.fdopen(number, "rb") as file:
        return file.read()


def text(path: Path) -> str:
    """The same, decoded; raises UnicodeDecodeError, which is a ValueError, too."""
    return content(path).decode("utf-8")
