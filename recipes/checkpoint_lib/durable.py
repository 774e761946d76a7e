"""Files that are on the disk before a name says that they are complete: a machine's end takes what is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync(folder: Path) -> None:
    """Everything below a folder, and its own names; behind no link.

    Raises:
        OSError: Something cannot be written: a quota on a network file system is told of only now.
    """
    for root, _, names in os.walk(folder, topdown=False):
        for path in (Path(root, name) for name in names):
            if not path.is_symlink():
                _sync(path)
        _sync(Path(root))


def rename(source: Path, target: Path) -> None:
    """A folder takes its name, also on the disk.

    Raises:
        OSError: It does not.
    """
    _sync(source)  # a lock in it that is gone now stays so
    source.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some file systems know it of files alone
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)
