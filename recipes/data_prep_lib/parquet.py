"""One column of the row groups that begin in a part of a parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

from data_prep_lib.compressed import DamagedFileError
from data_prep_lib.errors import InputError
from data_prep_lib.remote import is_remote, open_input
from data_prep_lib.shards import Piece

_ROWS = 512  # rows decoded at once: keeps memory flat where row groups are large


def read_column(piece: Piece, field: str) -> Iterator[tuple[int, Any, float]]:
    """(row number from 1, value, share of the part's rows read); no UTF-8 comes as its UnicodeDecodeError."""
    try:
        with ExitStack() as stack:
            file = stack.enter_context(_open(stack, piece.path))
            _check_column(piece.path, file.schema_arrow, field)
            groups = _groups(file.metadata, piece)
            total, done = sum(rows for _, _, rows in groups), 0
            for group, number, _ in groups:
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=[field]):
                    for value in _values(batch.column(0)):
                        number, done = number + 1, done + 1
                        yield number, value, done / total
    except pa.ArrowException as e:
        raise DamagedFileError(f"truncated or damaged parquet file: {e}") from None
    except OSError as e:
        if e.errno is None:  # Arrow's own, for pages that it cannot read; the system's errors have a number
            raise DamagedFileError(f"truncated or damaged parquet file: {e}") from None
        raise


def _open(stack: ExitStack, path: str) -> Any:
    if not is_remote(path):
        return pq.ParquetFile(path)
    return pq.ParquetFile(stack.enter_context(open_input(path, exact=True)), pre_buffer=True)  # few, large requests


def _check_column(path: str, schema: pa.Schema, field: str) -> None:
    if field not in schema.names:
        raise InputError(f"{path}: no field {field!r}; fields here: {', '.join(schema.names)}\n  set `text_field`")
    kind = schema.field(field).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise InputError(f"{path}: field {field!r} is {kind}, not text\n  set `text_field` to a field of strings")


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


def _values(column: Any) -> Iterator[Any]:
    try:
        yield from column.to_pylist()
    except UnicodeDecodeError:
        for scalar in column:
            try:
                yield scalar.as_py()
            except UnicodeDecodeError as e:
                yield e
