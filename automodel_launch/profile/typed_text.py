"""What a value of a profile is that was typed on a command line: where the key takes text, the text itself.

YAML would make other things of it: of `123` a number, of `no` false, of `{"a": 1}` a mapping, and `fix #12` would end
at the blank. Only quotes around the whole are YAML's: `'"null"'`.
"""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from automodel_launch.profile.keys import SYNONYMS
from automodel_launch.profile.schema import KEYS, Profile


def value(key: str, text: str, read: Any) -> Any:
    """The value of a key; `text` is what was typed and `read` what YAML makes of it."""
    name = SYNONYMS.get(key, key)
    kinds = _kinds(Profile.model_fields[name].annotation) if name in KEYS else set()
    if str not in kinds or _is_null(text):
        return read
    has_kind = type(read) in kinds and not isinstance(read, str)
    return read if has_kind else as_text(text, read)


def parameter(text: str, read: Any) -> Any:
    """The value of an option of sbatch: a number or true, where that says what was typed."""
    if _is_null(text) or isinstance(read, bool) or (isinstance(read, int | float) and str(read) == text):
        return read
    return as_text(text, read)


def as_text(text: str, read: Any) -> str:
    """What was typed, without quotes around it."""
    return read if isinstance(read, str) and text.lstrip()[:1] in ("'", '"') else text


def _is_null(text: str) -> bool:
    """As if the key were not there; to YAML so is `#12`, a comment."""
    return text.strip().lower() in ("", "~", "null")


def _kinds(annotation: Any) -> set[type]:
    """The kinds of value that an annotation takes, as YAML's: a choice of words is text, a tuple a list."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return {list}
    if origin is dict:
        return {dict}
    if origin is Literal:
        return {type(word) for word in parts}
    if origin is Annotated:
        return _kinds(parts[0])
    if parts:
        return set().union(*map(_kinds, parts)) - {NoneType}
    return {annotation} if isinstance(annotation, type) else set()
