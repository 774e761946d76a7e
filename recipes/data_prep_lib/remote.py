"""Input files by path or address, opened for reading; a broken connection is never taken for damaged data.

Files of the hub are read in ranges, through huggingface_hub's file system, and never copied to the disk: of a parquet
file only the column of text travels. HF_TOKEN, HF_HOME and HF_ENDPOINT mean what they always do.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

from data_prep_lib import stores
from data_prep_lib.errors import DataPrepError
from data_prep_lib.store_file import StoreFile

SCHEME = "hf://"
_LOCAL_BUFFER = 1 << 20
_REMOTE_BLOCK = 16 << 20  # bytes of one request where a file is read from a place to its end


def is_remote(path: str) -> bool:
    return path.startswith(SCHEME) or stores.is_address(path)


def state_of(path: str) -> tuple[int, int] | None:
    """(size, mtime_ns) of a local file now; None for a remote one: an address of the hub names a commit, and
    of an object each range is asked for with its version, so that another one is never read.

    Raises:
        OSError: it is gone.
    """
    if is_remote(path):
        return None
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def open_input(path: str, version: str = "", exact: bool = False) -> IO[bytes]:
    """A binary file. `exact`: a remote one is asked for the very ranges that are read, and for nothing ahead of them.

    `version`: the entity tag of the object that was planned; without, the one that is there when it is opened.

    Raises:
        OSError: a local file that cannot be read.
        DataPrepError: a remote one, at any read.
    """
    if not is_remote(path):
        return open(path, "rb", buffering=_LOCAL_BUFFER)
    raw = StoreFile(path, version, exact) if stores.is_address(path) else _Remote(path, exact)
    return cast(IO[bytes], raw if exact else io.BufferedReader(raw, _LOCAL_BUFFER))


class _Remote(io.RawIOBase):
    """HfFileSystem's file, with errors that say what to do."""

    def __init__(self, path: str, exact: bool) -> None:
        from huggingface_hub import HfFileSystem

        self._path = path
        options: dict[str, Any] = {"cache_type": "none"} if exact else {"cache_type": "readahead"}
        self._file = self._try(lambda: HfFileSystem().open(path, "rb", block_size=_REMOTE_BLOCK, **options))

    def _try(self, call: Any) -> Any:
        try:
            return call()
        except Exception as e:  # httpx, requests and huggingface_hub each have their own
            reason = (str(e) or type(e).__name__).strip().splitlines()[0]
            raise DataPrepError(
                f"{self._path}: cannot be read from the hub: {reason}; finished shards are kept\n"
                "  run the same command again when the connection is back (HF_TOKEN for a gated dataset)"
            ) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        data = self._try(lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()
