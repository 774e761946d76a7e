"""Long lists are kept from OmegaConf, which takes a quarter of a millisecond for each entry and would change none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONG = 200  # entries
_MARK = "\0list "
_MARKS = ("${", "???")  # what OmegaConf reads in a string


class Inside(Exception):
    """Something looks into a list that was taken out."""


@dataclass
class Aside:
    """Lists that were taken out of a config: mark -> list."""

    lists: dict[str, list[Any]] = field(default_factory=dict)

    def take(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The config with a mark in the place of each long list of plain values; a reference may name a whole one."""
        taken: dict[str, Any] = self._take(data)
        return taken

    def _take(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._take(entry) for key, entry in value.items()}
        if not isinstance(value, list):
            return value
        if len(value) > LONG and all(map(_is_plain, value)):
            mark = f"{_MARK}{len(self.lists)}\0"
            self.lists[mark] = value
            return mark
        return [self._take(entry) for entry in value]

    def put_back(self, value: Any) -> Any:
        """The same, with copies of the lists in their places.

        Raises:
            Inside: a mark has become a part of a text, so a list was wanted there.
        """
        if isinstance(value, dict):
            return {key: self.put_back(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.put_back(entry) for entry in value]
        if not isinstance(value, str) or _MARK not in value:
            return value
        if value not in self.lists:
            raise Inside
        return list(self.lists[value])


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return not any(mark in value for mark in _MARKS)
    return value is None or isinstance(value, bool | int | float)
