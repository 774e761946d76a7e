"""Numbers of metrics.jsonl, a column a name: a million steps in some 100 MB, where dicts would take a gigabyte."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

from automodel_launch.jobs.records import is_number

_NAN = float("nan")


class Columns:
    """Rows of numbers under names; what a row lacks, and what was no finite number, is NaN."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, array[float]] = {}
        self._fractional: set[str] = set()  # names with a value that was not written as an integer

    def add(self, record: Mapping[str, Any]) -> None:
        """A row; what is neither a number nor null is left out."""
        for name, value in record.items():
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                number = _NAN
            elif is_number(value):
                number = float(value)
                if isinstance(value, float):
                    self._fractional.add(name)
            else:
                continue
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = array("d", [_NAN]) * self.rows
            column.append(number)
        self.rows += 1
        for column in self._columns.values():
            if len(column) < self.rows:
                column.append(_NAN)

    def extend(self, other: Columns) -> None:
        """All rows of another one behind these."""
        before = self.rows
        self.rows += other.rows
        for name in dict.fromkeys((*self._columns, *other._columns)):
            column = self._columns.setdefault(name, array("d", [_NAN]) * before)
            column.extend(other[name])
        self._fractional |= other._fractional

    @property
    def names(self) -> list[str]:
        """In the order in which they first appeared."""
        return list(self._columns)

    def __getitem__(self, name: str) -> array[float]:
        return self._columns[name] if name in self._columns else array("d", [_NAN]) * self.rows

    def value(self, name: str, row: int) -> int | float | None:
        """As it was written: an integer where all of the column are; None for NaN."""
        number = self[name][row]
        if not math.isfinite(number):
            return None
        return number if name in self._fractional else int(number)

    def row(self, number: int) -> dict[str, int | float | None]:
        """All numbers of a row by name; None where there is none."""
        return {name: self.value(name, number) for name in self._columns}
