"""Will the job have another attempt? From what its attempts have left; nothing is asked or done here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import contract

from . import known, lock
from .history import Ended
from .patterns import pattern

DIVERGED = "the loss is not a number"  # how the agent's error begins then
_GOES_ON_AFTER = {contract.TIMEOUT, contract.PREEMPTED, contract.NODE_FAIL, contract.REQUEUED}
_IMPORT = pattern(r"^(ImportError|ModuleNotFoundError|SyntaxError|IndentationError|TabError)\b")
_CHANGING = pattern(r"0x[0-9a-fA-F]+|\d+(\.\d+)*(:\d+)?")


@dataclass(frozen=True)
class Limits:
    """What the profile allows: `jobs` attempts in all (None: any number), `failures` in a row without a checkpoint."""

    jobs: int | None
    failures: int
    gpu_hours: float | None = None  # of all attempts
    gpus: int = 0  # of an attempt, where Slurm does not tell


@dataclass(frozen=True)
class Decision:
    """Whether the job goes on, and why or why not, for a person to read."""

    goes_on: bool
    why: str


def decide(
    ends: list[Ended],
    limits: Limits,
    finished: bool,
    stopped: str | None,
    final_codes: Mapping[int, str] = contract.FINAL_CODES,
    used_up: str | None = None,
) -> Decision:
    """Contract: `ends` holds at least one attempt, the last one is the one that has just ended.

    `finished`: the run has reached its end; `stopped`: what is to be said of a stop file that somebody has made;
    `final_codes`: exit codes with which every further attempt would end too; `used_up`: why the GPU-hours do not allow
    another one.
    """
    last = ends[-1]
    over = _is_over(last, finished, stopped) or _is_hopeless(ends, final_codes) or used_up or _is_used_up(ends, limits)
    return Decision(False, over) if over else Decision(True, _reason(last))


def _is_over(last: Ended, finished: bool, stopped: str | None) -> str | None:
    if finished:
        return contract.RUN_FINISHED
    if stopped:
        return stopped
    if last.state == contract.COMPLETED:
        return "it has completed"
    if last.state == contract.CANCELLED:
        return "somebody cancelled it"
    return None


def _is_hopeless(ends: list[Ended], final_codes: Mapping[int, str]) -> str | None:
    """The next attempt would fail in the same way."""
    last = ends[-1]
    if last.state != contract.FAILED:
        return None
    if last.code in final_codes and last.to_step is None:
        return final_codes[last.code] + _quoted(last)
    if last.error and _IMPORT.match(last.error):
        return "its code cannot be imported" + _quoted(last)
    if last.error and last.error.startswith((DIVERGED, lock.IN_USE)):  # the other job trains the run to its end
        return last.error
    hopeless = _is_certain(ends)
    if hopeless:
        return hopeless + _quoted(last)
    if len(ends) > 1 and _same(ends[-2], last):
        where = f"at step {last.to_step}" if last.to_step is not None else "before the first step"
        return f"it failed twice in the same way {where}" + _quoted(last)
    return None


def _is_certain(ends: list[Ended]) -> str | None:
    """A known error that every further attempt would end with; nothing is certain of a job that has taken steps."""
    signature = known.get(ends[-1].known)
    if signature is None or signature.restart != known.CANNOT or any(end.to_step is not None for end in ends):
        return None
    return f"no further attempt can help, {signature.cause}"


def _same(one: Ended, other: Ended) -> bool:
    """The same error after the same step; numbers in it (addresses, ports, times) may differ."""
    if (one.state, one.code, one.to_step) != (other.state, other.code, other.to_step):
        return False
    return _without_numbers(one.error) == _without_numbers(other.error)


def _without_numbers(error: str | None) -> str:
    return _CHANGING.sub("#", error or "")


def _is_used_up(ends: list[Ended], limits: Limits) -> str | None:
    if limits.jobs is not None and sum(not end.replaced for end in ends) >= limits.jobs:
        return f"its {limits.jobs} jobs are used up (chain = {limits.jobs})"
    idle = attempts_without_progress(ends)
    if idle >= limits.failures:
        return f"{idle} attempts in a row brought no new checkpoint (max_failures = {limits.failures})"
    return None


def attempts_without_progress(ends: list[Ended]) -> int:
    """How many of the last attempts have brought no checkpoint later than any before them."""
    best, idle = None, 0
    for end in ends:
        if end.checkpoint is not None and (best is None or end.checkpoint > best):
            best, idle = end.checkpoint, 0
        else:
            idle += 1
    return idle


def _reason(last: Ended) -> str:
    if last.state in _GOES_ON_AFTER:
        return contract.MEANINGS[last.state]
    return "it failed" + _quoted(last)


def _quoted(last: Ended) -> str:
    return f": {last.error}" if last.error else ""
