"""Reads many files at once, of a number of bytes together; called here, and sent to login nodes behind a shell.

There it is a script for whatever Python is there, so that it needs nothing but the standard library of Python 3.5.
"""

import os
import stat
from typing import List, Optional, Sequence, Tuple, TypeVar

Name = TypeVar("Name", str, bytes)
Found = Optional[Tuple[bytes, int]]


def read_files(wanted: Sequence[Tuple[Name, int]], budget: int) -> List[Found]:
    """Of each (path, offset) its bytes from there on and its size, None of what is no file; `budget` bytes in all.

    Those that have little are read first, so that what they leave is for the others: all come complete where there is
    room for all, and none gets less than its share. A negative offset counts from the end.
    """
    ahead = [_ahead(path, offset) for path, offset in wanted]
    there = sorted((many, place) for place, many in enumerate(ahead) if many is not None)
    found = [None] * len(ahead)  # type: List[Found]
    for done, (_, place) in enumerate(there):
        found[place] = one = _read(wanted[place][0], wanted[place][1], budget // (len(there) - done))
        budget -= len(one[0]) if one else 0
    return found


def _ahead(path: Name, offset: int) -> Optional[int]:
    try:
        known = os.stat(path)
    except (OSError, ValueError):  # ValueError: of a name with a NUL in it
        return None
    if not stat.S_ISREG(known.st_mode):  # to open a pipe would wait for its writer
        return None
    return max(0, known.st_size - offset) if offset >= 0 else min(known.st_size, -offset)


def _read(path: Name, offset: int, limit: int) -> Found:
    try:
        with open(path, "rb") as file:  # whatever is ahead: on a network file system, only this asks for its size anew
            size = os.fstat(file.fileno()).st_size
            start = offset if offset >= 0 else max(0, size + offset)
            count = max(0, min(limit, size - start))
            if not count:
                return b"", size
            file.seek(start)
            return file.read(count), size
    except OSError:
        return None
