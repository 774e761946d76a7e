"""Plain, .gz and .zst files as one binary stream; damage is an exception of its own, never a short read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from data_prep_lib.remote import open_input

_CHUNK = 1 << 20


class DamagedFileError(Exception):
    """The file is not what its suffix says, or ends too early."""


@contextmanager
def open_stream(path: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the stream of decompressed bytes, the raw file, whose tell() says how far reading has come)."""
    suffix = Path(path.lower()).suffix
    with open_input(path) as raw:
        try:
            if suffix == ".gz":
                # BufferedReader: GzipFile's own line iteration is several times slower
                yield cast(IO[bytes], io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK)), raw
            elif suffix == ".zst":
                yield cast(IO[bytes], io.BufferedReader(_ZstdFile(raw), _CHUNK)), raw
            else:
                yield raw, raw
        except (gzip.BadGzipFile, zlib.error, EOFError) as e:
            raise DamagedFileError(f"truncated or damaged {suffix} file: {e}") from None


class _ZstdFile(io.RawIOBase):
    """zstandard's own stream_reader ends without an error where a file is cut off; this one raises EOFError."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj
        self._raw = raw
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            if not self._fill():
                return 0
        size = min(len(buffer), len(self._output))
        buffer[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _fill(self) -> bool:
        """Decompress some more input; False at the end of the last frame."""
        data = self._input or self._raw.read(_CHUNK >> 3)
        if not data:
            if self._frame is not None:
                raise EOFError("ended inside a frame")
            return False
        self._frame = self._frame or self._new_frame()
        try:
            self._output = memoryview(self._frame.decompress(data))
        except self._error as e:
            raise EOFError(str(e)) from None
        self._input = b""
        if self._frame.eof:  # a file may hold several frames, as `cat a.zst b.zst` makes them
            self._input, self._frame = self._frame.unused_data, None
        return True
