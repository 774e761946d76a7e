"""Files that appear under their names only when they are complete: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from data_prep_lib.errors import DataPrepError

# EFBIG is what a limit on the size of files gives, EDQUOT a user's quota
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the host, as processes of several nodes (containers above all) may have one id
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    file = open(temporary, "wb", buffering=1 << 20)  # noqa: SIM115
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as e:
        if isinstance(e, OSError) and e.filename is None:  # of a full disk nothing says which
            e.filename = str(path)
        with suppress(OSError):  # close() flushes once more, and fails once more on a full disk
            file.close()
        with suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    with writing(path) as file:
        # a file's name that is no UTF-8 as JSON's own escapes, \udcff, which reading turns back
        file.write(json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def read_json(path: Path) -> Any:
    """The file's value; None where there is none or it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def remove_leftovers(directory: Path) -> None:
    """Temporary files of a killed run. Call it while nobody writes there."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def disk_error(e: OSError, where: Path) -> DataPrepError:
    if e.errno in _FULL:
        return DataPrepError(
            f"{where}: {os.strerror(e.errno or 0)}; finished shards are kept, nothing half-written has a final name\n"
            "  free space (or choose another output_dir) and run the same command again"
        )
    return DataPrepError(f"{e.filename or where}: {e.strerror or e}")


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
