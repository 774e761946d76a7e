"""`${key.sub}` and `${oc.env:NAME}` whose value is plain, replaced as OmegaConf would replace them.

Nearly all references are of these two forms. Where no other is left, OmegaConf, which takes longer to be imported than
all of a config takes to be read, is not needed. Whatever may mean something else to it is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{(?:(oc\.env:)([A-Za-z_]\w*)|([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*))\}", re.ASCII)
_OTHERS = re.compile(r"[$\\]")  # outside of those: a reference of another form, or a character that quotes one
_WORDS = ("null", "true", "false", "inf", "nan")  # values of OmegaConf's grammar, in any case, and no names
_NOWHERE = object()  # no value of a config
_MISSING = "???"  # OmegaConf refuses a reference to it


class Other(Exception):
    """It is not plain: OmegaConf has to resolve it, or may refuse it."""


def replaced(data: Mapping[str, Any], variable: Callable[[str], str | None]) -> dict[str, Any]:
    """A copy of `data` in which what has such references alone is replaced.

    `variable`: the value of NAME, where it is known here.
    """
    known = _Known(data, variable)
    try:
        return {key: known.replace(value) for key, value in data.items()}
    except _Section:
        return dict(data)


class _Section(Exception):
    """One within a text, where it stands as it was written."""


class _Known:
    """Values of one config."""

    def __init__(self, data: Mapping[str, Any], variable: Callable[[str], str | None]) -> None:
        self._data, self._variable = data, variable
        self._values: dict[str, Any] = {}
        self._asked: set[str] = set()

    def replace(self, value: Any) -> Any:
        """A copy of a value, with whatever is plain."""
        if type(value) is dict:
            return {key: self.replace(entry) for key, entry in value.items()}
        if type(value) is list:
            return [self.replace(entry) for entry in value]
        try:
            return self._plain(value) if type(value) is str else value
        except Other:
            return value

    def _plain(self, value: Any) -> Any:
        """The whole of it, plain.

        Raises:
            Other: something in it is not.
        """
        if type(value) is dict and all(type(key) is str for key in value):
            return {key: self._plain(entry) for key, entry in value.items()}
        if type(value) is list:
            return [self._plain(entry) for entry in value]
        if type(value) is str and "${" in value:
            return self._text(value)
        if value is None or type(value) in (str, bool, int, float):
            return value
        raise Other

    def _text(self, text: str) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self._named(whole)
        if any(path and type(self._node(path)) in (dict, list) for _, _, path in _REFERENCE.findall(text)):
            raise _Section
        if _OTHERS.search(_REFERENCE.sub("", text)):
            raise Other
        return _REFERENCE.sub(self._within, text)

    def _within(self, match: re.Match[str]) -> str:
        value = self._named(match)
        if type(value) not in (str, int):  # of a number, say, OmegaConf's own text
            raise Other
        return str(value)

    def _named(self, match: re.Match[str]) -> Any:
        name = match[0]
        if name not in self._values:
            if name in self._asked:  # a circle, or one that was other before
                raise Other
            self._asked.add(name)
            value = self._of_environment(match[2]) if match[1] else self._at(match[3])
            if _has_marks(value):
                raise Other
            self._values[name] = value
        return _copy(self._values[name])

    def _of_environment(self, name: str) -> str:
        value = None if name.lower() in _WORDS else self._variable(name)
        if value is None:
            raise Other
        return value

    def _at(self, path: str) -> Any:
        return self._plain(self._node(path))

    def _node(self, path: str) -> Any:
        node: Any = self._data
        for part in path.split("."):
            if type(node) is not dict or part not in node:
                return _NOWHERE
            node = node[part]
        return node


def _has_marks(value: Any) -> bool:
    """Whether OmegaConf would read something in it, now that it stands elsewhere."""
    if type(value) is dict:
        return any(map(_has_marks, value.values()))
    if type(value) is list:
        return any(map(_has_marks, value))
    return type(value) is str and ("${" in value or value == _MISSING)


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(entry) for key, entry in value.items()}
    return [_copy(entry) for entry in value] if type(value) is list else value
