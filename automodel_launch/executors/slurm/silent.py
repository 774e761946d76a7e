"""Which Slurm does not answer now: many jobs of one cluster wait for it once, as they do for a host (remote/ssh.py)."""

from __future__ import annotations

import time

from automodel_launch.remote.shell import Shell

REMEMBER_S = 1.0  # how long a question without an answer stands for the next ones, too
MOST_S = 30.0  # and how long at most, where each next one comes within that time

_silent: dict[Shell, tuple[str, float, float]] = {}  # what, since when, and when it was last counted on


def now(shell: Shell) -> str:
    """What of Slurm's need not be asked: CONTROLLER, also sacct (slurm_query.ALL), or nothing (an empty string)."""
    what, since, last = _silent.get(shell, ("", 0.0, 0.0))
    moment = time.monotonic()
    if not what or moment - last > REMEMBER_S or moment - since > MOST_S:
        return ""
    _silent[shell] = what, since, moment
    return what


def note(shell: Shell, what: str, known: str = "") -> None:
    """What has not answered, of a question that did not ask what was `known` to be silent."""
    if not what:
        _silent.pop(shell, None)
    elif what != known:
        _silent[shell] = what, time.monotonic(), time.monotonic()
