"""Whose a run is: what of its directory this user cannot write, and would have to.

A run is shared by its jobs, and so by the people who launch them where its directory is their group's.
"""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterable
from pathlib import Path

from automodel_launch import contract

_NAMES = ("", f"/{contract.CLAIMS}", f"/{contract.LOCK}", f"/{contract.HISTORY}")


def _paths(run_dir: str, checkpoints: str | None) -> list[str]:
    below = [checkpoints] if checkpoints and checkpoints.startswith(f"{run_dir}/") else []
    return [*(f"{run_dir}{name}" for name in _NAMES), *below]


def here(run_dir: str, checkpoints: str | None = None) -> str | None:
    """`alice PATH` of what this user cannot write, for a run that this machine sees; None where there is nothing."""
    for path in map(Path, _paths(run_dir, checkpoints)):
        if os.path.lexists(path) and not os.access(path, os.W_OK):
            return f"{_name(path.lstat().st_uid)} {path}"
    return None


def question(run_dir: str, checkpoints: str | None = None) -> str:
    """Bash that prints the same."""
    words = " ".join(shlex.quote(path) for path in _paths(run_dir, checkpoints))
    return f'for path in {words}; do [ ! -e "$path" ] || [ -w "$path" ] || {{ stat -c "%U %n" "$path"; break; }}; done'


def message(run_name: str, told: str) -> tuple[str, str]:
    """What is wrong and what to do, out of `alice PATH`."""
    owner, _, path = told.partition(" ")
    text = f"run {run_name} is {owner}'s: you cannot write {path}, where each job of it writes"
    shared = "to share one: a job root of your group, `chmod g+rwxs JOB_ROOT`, before its first launch"
    return text, f"--name NAME for a run of your own; {shared}"


def first(lines: Iterable[str]) -> str | None:
    """The answer to `question`; nothing else that a login prints looks like it."""
    return next((line for line in lines if line.partition(" ")[2].startswith("/")), None)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "UNKNOWN"  # as stat(1) says
