"""One line about an exception, in which the cause of a failed save of torch's is named."""

from __future__ import annotations

import traceback

from . import redaction
from .disk_reserve import TORN
from .patterns import pattern

ERROR_CHARS = 500  # of the line, where it is written down
# What torch 2.13 says where its writer of archives could not write: it has forgotten why by then.
_TORN = pattern(r"inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing")


def kept(line: str) -> str:
    """A line about an error as it is written down: first without secrets, then cut, so that no part of one stays."""
    return redaction.text(line)[:ERROR_CHARS]


def error_line(error: BaseException) -> str:
    """`Type: message` in one line. A failed save of torch's distributed checkpoints names only ranks: its cause."""
    failures = getattr(error, "failures", None)  # torch 2.13, CheckpointException: rank -> (exception, its stack)
    if type(error).__name__ == "CheckpointException" and isinstance(failures, dict) and failures:
        rank = min(failures)
        return f"{error_line(failures[rank][0])} (CheckpointException, {len(failures)} ranks, the first is {rank})"
    pieces = traceback.format_exception_only(type(error), error)
    text = pieces[-1] if isinstance(error, SyntaxError) else pieces[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # the message starts on the next line
        return " ".join(lines[:2])
    line = lines[0] if lines else type(error).__name__
    return f"{TORN}: {line}" if _TORN.search(line) else line
