"""An object of a store as a binary file for the readers; every part of it is of one version."""

from __future__ import annotations

import io
from typing import Any

from data_prep_lib.stores import read_range, version_of

_FIRST_BLOCK, _BLOCK = 1 << 18, 16 << 20  # bytes of one request: a look at the first rows is small, a shard is large


class StoreFile(io.RawIOBase):
    """An object as a file. `exact`: only the ranges that are read; else ahead, in blocks that grow."""

    def __init__(self, address: str, version: str, exact: bool) -> None:
        self._address, self._version, self._exact = address, version, exact
        self._at, self._size = 0, -1
        self._block, self._begin, self._length = memoryview(b""), 0, _FIRST_BLOCK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size < 0:
            self._fetch(0, 1)
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        if not wanted or (self._size >= 0 and self._at >= self._size):
            return 0
        if not self._begin <= self._at < self._begin + len(self._block):
            self._begin = self._at
            self._block = memoryview(self._fetch(self._at, self._at + (wanted if self._exact else self._length)))
            self._length = min(_BLOCK, self._length * 4)
        data = self._block[self._at - self._begin :][:wanted]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetch(self, start: int, end: int) -> bytes:
        data, meta = read_range(self._address, start, end if self._size < 0 else min(end, self._size), self._version)
        self._size, self._version = int(meta["size"]), self._version or version_of(meta)
        return data
