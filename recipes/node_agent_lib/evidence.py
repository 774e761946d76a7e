"""By which words an error is known, of one rank: its exception's own, else its log's last ones.

What a program has printed is no evidence: an exception that has left the script is what ended it, whatever stands in
the log. Only where it tells nothing but that another rank is gone, or where there was none (a signal), is the log
looked at: at lines in the form in which software prints its errors, behind the last step of the training.
"""

from __future__ import annotations

from typing import Callable, Iterable, NamedTuple

from . import known
from .backends import Backend
from .known import Signature

LINES = 400  # of a log's end that are looked at
_CAUSE_OF = "The above exception was the direct cause of the following exception:"
_ABORT = "abort"  # of known/program.py


class Evidence(NamedTuple):
    """A known error, and the words that tell it."""

    signature: Signature
    line: str


def of_rank(
    error: str | None, traceback: str | None, lines: Iterable[str], is_step: Callable[[str], bool]
) -> Evidence | None:
    """What is known of a rank's end.

    `lines` is the end of its log, of this attempt alone; they are read only where the error does not suffice.
    """
    signature = known.of_error(error)
    if signature is not None and error is not None and signature.level >= 2:
        return Evidence(signature, error)
    chained = _of_chain(traceback or "")
    if chained is not None and chained.signature.level > (signature.level if signature else 0):
        return chained
    own = Evidence(signature, error) if signature is not None and error is not None else None
    if own is None and traceback:
        return chained
    logged = in_lines([*lines, *(traceback or "").splitlines()], is_step)
    if own is not None and own.signature.id == _ABORT:  # abort() is how C++ ends after an error that it has printed
        return logged if logged is not None and logged.signature.id != _ABORT else own
    return _stronger(own, logged)


def in_lines(lines: Iterable[str], is_step: Callable[[str], bool]) -> Evidence | None:
    """The strongest of the errors behind the last step, the first of several that are equally strong."""
    best: Evidence | None = None
    for line in dict.fromkeys(_joined(_after_steps(list(lines)[-LINES:], is_step))):
        signature = known.of_line(line)
        if signature is not None:
            best = _stronger(best, Evidence(signature, line.strip()))
    return best


def is_step(line: str, backend: Backend) -> bool:
    """Whether a line of a log is a step or a validation."""
    data = line.encode("utf-8", "replace")
    return any(mark in data for mark in backend.markers) and backend.parse_metrics(line, 0.0) is not None


def _stronger(one: Evidence | None, other: Evidence | None) -> Evidence | None:
    if one is None or other is None:
        return one or other
    return other if other.signature.level > one.signature.level else one


def _after_steps(lines: list[str], is_step: Callable[[str], bool]) -> list[str]:
    last = next((number for number in range(len(lines) - 1, -1, -1) if is_step(lines[number])), -1)
    return lines[last + 1 :]


def _joined(lines: Iterable[str]) -> Iterable[str]:
    """NCCL's own reason stands on the line behind `Last error:`."""
    waits = False
    for line in lines:
        yield f"Last error: {line.strip()}" if waits else line
        waits = line.rstrip().endswith("Last error:")


def _of_chain(traceback: str) -> Evidence | None:
    """Of exceptions from which others were made (`raise ... from`), the first that is known."""
    for block in traceback.split(_CAUSE_OF)[:-1]:
        for line in reversed(block.rstrip().splitlines()):
            if line.startswith("  ") or not line.strip():
                continue
            signature = known.of_line(line)
            if signature is not None:
                return Evidence(signature, line.strip())
    return None
