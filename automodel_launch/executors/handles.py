"""What the records' handles hold, whichever executor has made them: looked at before anything is asked with it."""

from __future__ import annotations

from typing import Any

_TEXTS = (
    "array",
    "together",
    "tunnel",
    "host",
    "machine",
    "user",
    "identity",
    "slurm_conf",
    "container",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "evaluations",
    "beside",
)
_WHOLE = ("pid", "after", "after_attempt")


def odd(handle: dict[str, Any]) -> str | None:
    """What in a handle is of another type than this version writes, in words; None where all is well."""
    for key, value in handle.items():
        if value is None:
            continue
        if key in _TEXTS and not isinstance(value, str):
            return f"its record's {key} is {value!r}, which is no string"
        if key in _WHOLE and (not isinstance(value, int) or isinstance(value, bool)):
            return f"its record's {key} is {value!r}, which is no whole number"
        if key == "stop_grace" and (not isinstance(value, int | float) or isinstance(value, bool)):
            return f"its record's {key} is {value!r}, which is no number of seconds"
    return None
