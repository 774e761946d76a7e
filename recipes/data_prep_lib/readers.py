"""A shard -> its documents' texts. A bad row ends the work as `FILE:LINE: what`, or is counted and listed.

A file that is not what was planned, by its size or time, ends the work in any case: a part of it would be missing, or
come twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from data_prep_lib import huge, rows
from data_prep_lib.compressed import DamagedFileError, open_stream
from data_prep_lib.errors import InputError
from data_prep_lib.huge import Huge
from data_prep_lib.kinds import COMPRESSED
from data_prep_lib.remote import open_input, state_of
from data_prep_lib.shards import Piece, Shard

_LISTED = 20  # bad rows named in a shard's receipt; all are counted
_LINE_BLOCK = 64  # lines of a compressed file that go to the same shard


class ShardReader:
    """Iterates over the texts of a shard's documents.

    `consumed` counts the bytes of input behind it (of compressed files: compressed bytes), for the progress line.
    `lost` lists damaged files: what of them could not be read, in documents where that is known, else in bytes.
    """

    def __init__(self, shard: Shard, on_error: str) -> None:
        self.consumed = 0.0
        self.num_skipped = 0
        self.skipped: list[str] = []
        self.lost: list[dict[str, Any]] = []
        self._shard = shard
        self._fail = on_error == "fail"
        self._loads = rows.loader()
        self._piece: Piece | None = None
        self._in_bytes = False

    def __iter__(self) -> Iterator[str]:
        for text in self._texts():
            yield text if isinstance(text, str) else text.data.decode("utf-8")
            del text

    def documents(self) -> Iterator[str | Huge]:
        """The same, of which huge ones never are one string, where the format allows it."""
        self._in_bytes = True
        return self._texts()

    def _texts(self) -> Iterator[str | Huge]:
        read = {"jsonl": self._jsonl, "text": self._text, "parquet": self._parquet}[self._shard.format]
        for piece in self._shard.pieces:
            self._piece = piece
            self.check_unchanged()
            before = self.consumed
            try:
                yield from read(piece)
            except InputError:
                self.check_unchanged()  # the true reason, where there is one
                raise
            self.check_unchanged()
            self.consumed = before + piece.end - piece.start
        self._piece = None

    def check_unchanged(self) -> None:
        """To be called, too, by who leaves before the end.

        Raises:
            InputError: the file that is being read is not what was planned.
        """
        if self._piece is not None:
            _check_unchanged(self._piece)

    def check_all_unchanged(self) -> None:
        """The same for all files of the shard."""
        for piece in self._shard.pieces:
            _check_unchanged(piece)

    def bad(self, where: str, what: str) -> None:
        """Called for each bad row; a probe overrides it."""
        if self._fail:
            fix = "set `text_field` to the one with the text" if what.startswith("no field") else "fix the file"
            raise InputError(f"{where}: {what}\n  {fix}; on_error: skip leaves single rows out")
        self.num_skipped += 1
        if len(self.skipped) < _LISTED:
            self.skipped.append(f"{where}: {what}")

    def damaged(self, where: str, what: str, piece: Piece, **lost: int) -> None:
        """Called where a file cannot be read on. `lost`: `documents`, or `bytes` of the file as it is on the disk."""
        if self._fail:
            raise InputError(f"{where}: {what}\n  fix the file, or set on_error: skip to keep what can be read of it")
        self.lost.append({"file": piece.path, "at": where.rpartition(":")[2], "what": what, **lost})

    # --- JSONL

    def _jsonl(self, piece: Piece) -> Iterator[str | Huge]:
        lines = self._compressed_lines if piece.path.lower().endswith(COMPRESSED) else self._plain_lines
        loads, field = self._loads, self._shard.text_field
        for number, held in lines(piece):
            line = held.pop()
            if line.isspace():
                continue
            text, error = rows.parse(loads, line, field, self._in_bytes)
            if error:
                _refuse_array(piece, number(), line)
                self.bad(f"{piece.path}:{number()}", error)
                continue
            del line  # one huge document is in memory once, and gone when the next one is read
            yield text
            del text

    def _plain_lines(self, piece: Piece) -> Iterator[tuple[Callable[[], int], list[bytes]]]:
        """The lines that begin in [start, end), each in a list from which the reader takes it, so that nobody else
        holds it; a line's number is found only when asked for."""
        with open_input(piece.path, piece.version) as file:
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
                held = [_without_bom(line, begin)]
                del line
                yield lambda begin=begin: _line_number(piece, begin), held  # type: ignore[misc]
        if at < piece.end:
            raise InputError(f"{piece.path}: it ended at byte {at} of {piece.size}\n  run again when it is complete")

    def _compressed_lines(self, piece: Piece) -> Iterator[tuple[Callable[[], int], list[bytes]]]:
        """Every shard reads the complete file and takes blocks of lines, spread evenly, in proportion to its bytes."""
        low, high = (piece.start << 32) // piece.size, (piece.end << 32) // piece.size
        base, part = self.consumed, (piece.end - piece.start) / piece.size
        number, at = 0, 0
        try:
            with open_stream(piece.path, piece.version) as (stream, raw):
                for line in stream:  # no enumerate(): its tuple would hold the line
                    number += 1
                    at = raw.tell()
                    block = (number - 1) // _LINE_BLOCK
                    if low <= block * 2654435769 % (1 << 32) < high:  # Knuth's multiplicative hash
                        self.consumed = base + at * part
                        held = [_without_bom(line, number - 1)]
                        del line
                        yield lambda number=number: number, held  # type: ignore[misc]
        except DamagedFileError as e:
            if self._fail or piece.start == 0:  # all shards of the file come here, one counts it
                self.damaged(f"{piece.path}:{number + 1}", str(e), piece, bytes=piece.size - min(at, piece.size))

    # --- text files and parquet

    def _text(self, piece: Piece) -> Iterator[str | Huge]:
        try:
            with open_stream(piece.path, piece.version) as (stream, _):
                data = stream.read()
        except DamagedFileError as e:
            self.damaged(f"{piece.path}:1", str(e), piece, documents=1)
            return
        try:
            data = _without_bom(data, 0)
            text = huge.of_bytes(data) if self._in_bytes and len(data) > huge.LEAST else data.decode("utf-8")
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            self.bad(f"{piece.path}:{line}", f"invalid UTF-8 at byte {e.start}")
            return
        del data
        yield text

    def _parquet(self, piece: Piece) -> Iterator[str]:
        from data_prep_lib.parquet import Lost, read_column

        base, field = self.consumed, self._shard.text_field
        try:
            for row, value, share in read_column(piece, field):
                if isinstance(value, Lost):
                    self.damaged(f"{piece.path}:{row}", value.what, piece, documents=value.rows)
                    continue
                self.consumed = base + share * (piece.end - piece.start)
                text, error = rows.checked(value, field)
                if error:
                    self.bad(f"{piece.path}:{row}", error)
                else:
                    yield text
        except DamagedFileError as e:  # the footer: nothing of the file can be found without it
            if self._fail or piece.start == 0:
                self.damaged(f"{piece.path}:1", str(e), piece, bytes=piece.size)


def _check_unchanged(piece: Piece) -> None:
    try:
        found = state_of(piece.path)
    except OSError as e:
        raise InputError(f"{piece.path}: {e.strerror} while it was read\n  run again when it is there") from None
    if found is not None and found != (piece.size, piece.mtime_ns or found[1]):
        how = f"from {piece.size} bytes to {found[0]}" if found[0] != piece.size else "its time, not its size"
        raise InputError(
            f"{piece.path}: it changed while it was read ({how})\n"
            "  run again when it is complete; what was made of it is not used then"
        )


def _refuse_array(piece: Piece, number: int, line: bytes) -> None:
    if number == 1 and line.lstrip().startswith(b"["):
        raise InputError(
            f"{piece.path}: it holds one JSON array, and a JSON object on each line is wanted\n"
            f"  write it as JSON lines: jq -c '.[]' {Path(piece.path).name} > FILE.jsonl"
        )


def _without_bom(data: bytes, offset: int) -> bytes:
    return data[3:] if offset == 0 and data.startswith(b"\xef\xbb\xbf") else data


def _line_number(piece: Piece, offset: int) -> int:
    """1 for the line that begins at byte 0."""
    with open_input(piece.path, piece.version) as file:
        return 1 + sum(chunk.count(b"\n") for chunk in _chunks(file, offset))


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        size -= len(chunk)
        yield chunk
