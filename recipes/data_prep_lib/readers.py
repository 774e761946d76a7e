"""A shard -> its documents' texts. A bad row ends the work as `FILE:LINE: what`, or is counted and listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from data_prep_lib.compressed import DamagedFileError, open_stream
from data_prep_lib.errors import InputError
from data_prep_lib.inputs import COMPRESSED
from data_prep_lib.remote import open_input, size_of
from data_prep_lib.shards import Piece, Shard

_LISTED = 20  # bad rows named in a shard's receipt; all are counted
_LINE_BLOCK = 64  # lines of a compressed file that go to the same shard


def _no_constant(name: str) -> float:
    # json takes NaN, orjson does not: the answer must not depend on which is installed
    raise ValueError(f"{name} is not JSON")


def _loads() -> Callable[[bytes], Any]:
    try:
        import orjson

        return orjson.loads
    except ImportError:
        return lambda line: json.loads(line.decode("utf-8"), parse_constant=_no_constant)


class ShardReader:
    """Iterates over the texts of a shard's documents.

    `consumed` counts the bytes of input behind it (of compressed files: compressed bytes), for the progress line.
    """

    def __init__(self, shard: Shard, on_error: str) -> None:
        self.consumed = 0.0
        self.num_skipped = 0
        self.skipped: list[str] = []
        self._shard = shard
        self._fail = on_error == "fail"
        self._loads = _loads()

    def __iter__(self) -> Iterator[str]:
        read = {"jsonl": self._jsonl, "text": self._text, "parquet": self._parquet}[self._shard.format]
        for piece in self._shard.pieces:
            if size_of(piece.path) not in (piece.size, None):
                raise InputError(f"{piece.path}: its size changed while it was read\n  run again when it is complete")
            before = self.consumed
            yield from read(piece)
            self.consumed = before + piece.end - piece.start

    def bad(self, where: str, what: str) -> None:
        """Called for each bad row; a probe overrides it."""
        if self._fail:
            raise InputError(f"{where}: {what}\n  fix the file, or set on_error: skip to leave such rows out")
        self.num_skipped += 1
        if len(self.skipped) < _LISTED:
            self.skipped.append(f"{where}: {what}")

    # --- JSONL

    def _jsonl(self, piece: Piece) -> Iterator[str]:
        lines = self._compressed_lines if piece.path.lower().endswith(COMPRESSED) else self._plain_lines
        for number, line in lines(piece):
            if line.isspace():
                continue
            text, error = self._parse(line)
            if error:
                self.bad(f"{piece.path}:{number()}", error)
            else:
                yield text

    def _parse(self, line: bytes) -> tuple[str, str]:
        """(text, "") or ("", what is wrong)."""
        try:
            row = self._loads(line)
        except (ValueError, RecursionError) as e:
            return "", _utf8_error(line) or f"invalid JSON: {e}"
        if not isinstance(row, dict):
            return "", f"a JSON object is wanted on each line, not {type(row).__name__}"
        field = self._shard.text_field
        if field not in row:
            return "", f"no field {field!r}; fields here: {', '.join(list(row)[:10]) or 'none'}"
        return _checked(row[field], field)

    def _plain_lines(self, piece: Piece) -> Iterator[tuple[Callable[[], int], bytes]]:
        """The lines that begin in [start, end); a line's number is found only when asked for."""
        with open_input(piece.path) as file:
            at = piece.start
            if at:  # the line that holds byte start - 1 belongs to the part before
                file.seek(at - 1)
                at += len(file.readline()) - 1
            base = self.consumed - piece.start
            for line in file:
                if at >= piece.end:
                    return
                begin, at = at, at + len(line)
                self.consumed = base + at
                yield lambda begin=begin: _line_number(piece.path, begin), _without_bom(line, begin)  # type: ignore[misc]

    def _compressed_lines(self, piece: Piece) -> Iterator[tuple[Callable[[], int], bytes]]:
        """Every shard reads the complete file and takes blocks of lines, spread evenly, in proportion to its bytes."""
        low, high = (piece.start << 32) // piece.size, (piece.end << 32) // piece.size
        base, part = self.consumed, (piece.end - piece.start) / piece.size
        number = 0
        try:
            with open_stream(piece.path) as (stream, raw):
                for number, line in enumerate(stream, 1):
                    block = (number - 1) // _LINE_BLOCK
                    if low <= block * 2654435769 % (1 << 32) < high:  # Knuth's multiplicative hash
                        self.consumed = base + raw.tell() * part
                        yield lambda number=number: number, _without_bom(line, number - 1)  # type: ignore[misc]
        except DamagedFileError as e:
            if self._fail or piece.start == 0:  # all shards of the file come here, one counts it
                self.bad(f"{piece.path}:{number + 1}", str(e))

    # --- text files and parquet

    def _text(self, piece: Piece) -> Iterator[str]:
        try:
            with open_stream(piece.path) as (stream, _):
                data = stream.read()
        except DamagedFileError as e:
            self.bad(f"{piece.path}:1", str(e))
            return
        try:
            yield _without_bom(data, 0).decode("utf-8")
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            self.bad(f"{piece.path}:{line}", f"invalid UTF-8 at byte {e.start}")

    def _parquet(self, piece: Piece) -> Iterator[str]:
        from data_prep_lib.parquet import read_column

        base, row, field = self.consumed, 0, self._shard.text_field
        try:
            for row, value, share in read_column(piece, field):
                self.consumed = base + share * (piece.end - piece.start)
                text, error = _checked(value, field)
                if error:
                    self.bad(f"{piece.path}:{row}", error)
                else:
                    yield text
        except DamagedFileError as e:
            if self._fail or piece.start == 0:
                self.bad(f"{piece.path}:{row + 1}", str(e))


def _checked(value: Any, field: str) -> tuple[str, str]:
    if isinstance(value, UnicodeDecodeError):
        return "", f"invalid UTF-8 at byte {value.start} of field {field!r}"
    if not isinstance(value, str):
        return "", f"field {field!r} is {'null' if value is None else type(value).__name__}, not text"
    try:
        if not value.isascii():  # a flag, where encoding takes as long as reading did
            value.encode("utf-8")
    except UnicodeEncodeError as e:
        return "", f"invalid UTF-8: a lone surrogate at character {e.start}"
    return value, ""


def _utf8_error(line: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as e:
        return f"invalid UTF-8 at byte {e.start} of the line"
    return ""


def _without_bom(data: bytes, offset: int) -> bytes:
    return data[3:] if offset == 0 and data.startswith(b"\xef\xbb\xbf") else data


def _line_number(path: str, offset: int) -> int:
    """1 for the line that begins at byte 0."""
    with open_input(path) as file:
        return 1 + sum(chunk.count(b"\n") for chunk in _chunks(file, offset))


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        size -= len(chunk)
        yield chunk
