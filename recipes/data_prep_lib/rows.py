"""One row -> its text, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from data_prep_lib import huge
from data_prep_lib.huge import Huge

Parsed = tuple[str | Huge, str]  # (text, "") or ("", what is wrong)


def _no_constant(name: str) -> float:
    # json takes NaN, orjson does not: the answer must not depend on which is installed
    raise ValueError(f"{name} is not JSON")


def loader() -> Callable[[bytes], Any]:
    """orjson's, or json's where that is not installed."""
    try:
        import orjson

        return orjson.loads
    except ImportError:
        return lambda line: json.loads(line.decode("utf-8"), parse_constant=_no_constant)


def parse(loads: Callable[[bytes], Any], line: bytes, field: str, in_bytes: bool = False) -> Parsed:
    """A line of JSONL. `in_bytes`: a huge text is never one string."""
    if in_bytes and len(line) > huge.LEAST and (parts := huge.of_line(line, loads)) is not None:
        row, texts = parts
        text, error = _of_row(row, field)
        return (texts.get(text, text) if isinstance(text, str) else text), error
    try:
        row = loads(line)
    except (ValueError, RecursionError) as e:
        return "", _utf8_error(line) or f"invalid JSON: {e}"
    return _of_row(row, field)


def _of_row(row: Any, field: str) -> Parsed:
    if not isinstance(row, dict):
        return "", f"a JSON object is wanted on each line, not {type(row).__name__}"
    if field not in row:
        return _nested(row, field)
    return checked(row[field], field)


def _nested(row: dict[str, Any], field: str) -> Parsed:
    """`meta.text` is the field `text` of the object `meta`, unless the row has a field with the dot in its name."""
    value: Any = row
    for part in field.split("."):
        if not isinstance(value, dict) or part not in value:
            return "", f"no field {field!r}; fields here: {', '.join(list(row)[:10]) or 'none'}"
        value = value[part]
    return checked(value, field)


def checked(value: Any, field: str) -> tuple[str, str]:
    """A value of a field. Bytes, which parquet may hold, are UTF-8."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as e:
            value = e
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
