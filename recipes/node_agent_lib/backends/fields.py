"""Lines of fields, ` | ` between them, a name and a number in each: `loss 2.31 | lr 3e-4`."""

from __future__ import annotations

import math

from ..files import Json
from ..patterns import pattern

_FIELD = pattern(r"^([A-Za-z_][\w/]*) (\S+)")
_INTEGER = pattern(r"^-?\d+$")


def add_fields(result: Json, text: str) -> None:
    """Add every field of the text that has a number."""
    for part in text.split(" | "):
        add_field(result, part.strip())


def add_field(result: Json, part: str) -> None:
    """Add one field; what is not a name and a number is left out, a unit behind the number too."""
    found = _FIELD.match(part)
    if found:
        put(result, found.group(1), found.group(2))


def put(result: Json, name: str, text: str) -> None:
    """Add a number; one that is not finite becomes null and marks the object as `nonfinite`."""
    try:
        value = float(text)
    except ValueError:
        return
    if not math.isfinite(value):
        result[name] = None
        result["nonfinite"] = True
    else:
        result[name] = int(text) if _INTEGER.match(text) else value


def as_validation(result: Json) -> None:
    """The loss of a validation has a name of its own."""
    if "loss" in result:
        result["val_loss"] = result.pop("loss")


def has_loss(result: Json) -> bool:
    """Whether the line was one of a step or validation at all."""
    return "loss" in result or "val_loss" in result
