"""One column of the row groups that begin in a part of a parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

from data_prep_lib.compressed import DamagedFileError
from data_prep_lib.errors import InputError
from data_prep_lib.remote import is_remote, open_input
from data_prep_lib.shards import Piece

_ROWS = 512  # rows decoded at once: keeps memory flat where row groups are large


@dataclass(frozen=True)
class Lost:
    """So many rows of a row group could not be read."""

    rows: int
    what: str


def read_column(piece: Piece, field: str) -> Iterator[tuple[int, Any, float]]:
    """(row number from 1, value, share of the part's rows read).

    A value that is no UTF-8 comes as its UnicodeDecodeError, the rest of a damaged row group as Lost, with the number
    of its first row.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open(stack, piece.path, piece.version))
        except (pa.ArrowException, OSError) as e:
            raise DamagedFileError(_damage(e)) from None
        inner = _check_column(piece.path, file.schema_arrow, field)
        groups = _groups(file.metadata, piece)
        total, done = sum(rows for _, _, rows in groups), 0
        for group, before, rows in groups:
            number = before
            try:
                # without Arrow's threads: there is a worker a core, and each thread would keep memory of its own
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[field], use_threads=False):
                    for value in _values(_column(batch, inner)):
                        number, done = number + 1, done + 1
                        yield number, value, done / total
            except (pa.ArrowException, OSError) as e:
                left = before + rows - number
                done += left
                yield number + 1, Lost(left, _damage(e)), done / total


def _damage(e: Exception) -> str:
    """The words for damage; the system's own errors, which have a number, are raised on."""
    if isinstance(e, OSError) and e.errno is not None:
        raise e
    return f"truncated or damaged parquet file: {e}"


def _open(stack: ExitStack, path: str, version: str) -> Any:
    if not is_remote(path):
        return pq.ParquetFile(path)
    return pq.ParquetFile(
        stack.enter_context(open_input(path, version, exact=True)), pre_buffer=True
    )  # few, large requests


def _check_column(path: str, schema: pa.Schema, field: str) -> list[str]:
    """The names that lead to the field below its column: none for a plain one."""
    parts = [field] if field in schema.names else field.split(".")
    if parts[0] not in schema.names:
        raise InputError(f"{path}: no field {field!r}; fields here: {', '.join(schema.names)}\n  set `text_field`")
    kind = schema.field(parts[0]).type
    for part in parts[1:]:
        names = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if part not in names:
            there = f"fields of {parts[0]!r}: {', '.join(names) or 'none'}"
            raise InputError(f"{path}: no field {field!r}; {there}\n  set `text_field`")
        kind = kind.field(part).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_text(kind) for is_text in _TEXT):
        raise InputError(f"{path}: field {field!r} is {kind}, not text\n  set `text_field` to a field of strings")
    return parts[1:]


# Binary, too: UTF-8 that some writers do not mark as such.
_TEXT = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    *(pa.types.is_binary, pa.types.is_large_binary),
)


def _groups(metadata: Any, piece: Piece) -> list[tuple[int, int, int]]:
    """(row group, rows before it in the file, its rows) for the row groups that begin in [start, end)."""
    groups, before = [], 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        if piece.start <= _offset(group) < piece.end:
            groups.append((g, before, group.num_rows))
        before += group.num_rows
    return groups


def _offset(group: Any) -> int:
    column = group.column(0)
    return int(min(column.dictionary_page_offset or column.data_page_offset, column.data_page_offset))


def _column(batch: Any, inner: list[str]) -> Any:
    return pc.struct_field(batch.column(0), inner) if inner else batch.column(0)


def _values(column: Any) -> Iterator[Any]:
    try:
        yield from column.to_pylist()
    except UnicodeDecodeError:
        for scalar in column:
            try:
                yield scalar.as_py()
            except UnicodeDecodeError as e:
                yield e
