"""Plain, .gz, .zst, .bz2 and .xz files as one binary stream; damage is an exception of its own, never a short read.

The standard library's own files give nothing of what they hold already when they come to a damaged place, and
zstandard's ends without an error where a file is cut off. This one gives all that can be read first.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from data_prep_lib.remote import open_input

_CHUNK = 1 << 20
_INPUT = 1 << 14  # decompressed at once: with a damaged place at most so much before it is lost


class DamagedFileError(Exception):
    """The file is not what its suffix says, or ends too early."""


@contextmanager
def open_stream(path: str, version: str = "") -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the stream of decompressed bytes, the raw file, whose tell() says how far reading has come)."""
    suffix = Path(path.lower()).suffix
    with open_input(path, version) as raw:
        if suffix not in _CODECS:
            yield raw, raw
            return
        try:
            yield cast(IO[bytes], io.BufferedReader(_Decompressed(raw, *_CODECS[suffix]()), _CHUNK)), raw
        except EOFError as e:
            raise DamagedFileError(f"truncated or damaged {suffix} file: {e}") from None


def _zstd() -> tuple[Callable[[], Any], Any]:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj, zstandard.ZstdError


# (a decompressor of one member, what it raises): all have decompress, eof and unused_data
_CODECS: dict[str, Callable[[], tuple[Callable[[], Any], Any]]] = {
    ".gz": lambda: (lambda: zlib.decompressobj(wbits=31), zlib.error),  # 31: with gzip's header and checksum
    ".bz2": lambda: (bz2.BZ2Decompressor, OSError),
    ".xz": lambda: (lzma.LZMADecompressor, lzma.LZMAError),
    ".zst": _zstd,
}


class _Decompressed(io.RawIOBase):
    """Reads one member after another: a file may hold several, as `cat a.gz b.gz` makes them.

    Raises:
        EOFError: at a damaged place, or where the file is cut off; all before it has been given by then.
    """

    def __init__(self, raw: IO[bytes], new_member: Callable[[], Any], error: Any) -> None:
        self._raw, self._new_member, self._error = raw, new_member, error
        self._member: Any = None
        self._begun = False
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
        """Decompress some more input; False at the end of the last member."""
        data = self._input or self._raw.read(_INPUT)
        if self._member is None and self._begun:
            data = data.lstrip(b"\0")  # padding, which gzip and xz allow after a member
            if not data and self._raw.peek(1):  # type: ignore[attr-defined]
                self._input = b""
                return True
        if not data:
            if self._member is not None:
                raise EOFError("ended inside a compressed block")
            return False
        self._member = self._member or self._new_member()
        try:
            self._output = memoryview(self._member.decompress(data))
        except self._error as e:
            raise EOFError(str(e)) from None
        self._input, self._begun = b"", True
        if self._member.eof:
            self._input, self._member = self._member.unused_data, None
        return True
