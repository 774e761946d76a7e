"""Files and directories that a setup line reads, asks for or goes to, where they are not there."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from automodel_launch.checks.shell_asked import TESTS
from automodel_launch.checks.shell_commands import may_make_files
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.sbatch_options import names

_HOME = re.compile(r"(?:~|\$HOME|\$\{HOME\})/")
_UNKNOWN = set("$*?[`")
_MOVES = names("cd pushd popd source . eval")


def needs(plan: Plan, where: str, form: str, path: str, before: list[list[str]]) -> Iterator[Finding]:
    """A file that is read or asked for, or a directory, where this machine, or what travels, can tell."""
    makers = may_make_files(before)
    travels = _is_relative(plan, form, path, before)
    looked_at = _looked_at(plan, path, before)
    lacks = not _has(plan, path) if travels else looked_at is not None and _is_missing(looked_at)
    if not lacks or (makers and _named(path, before)):
        return
    quoted = _quoted(path)
    command = form.format(quoted)
    what = "directory" if form.startswith("cd ") or " -d " in form else "file"
    message = f"{where}: `{command}`: there is no such {what}"
    there = "" if form.startswith(tuple(TESTS)) else f"[ -e {quoted} ] && "
    fix = f"its right path; `{there}{command} || true` where it may be missing"
    if travels:
        message += " where they run, in the job's own directory code/, which has what travels"
        fix = f"its whole path, or `code = [...]` of the profile, so that it travels; {fix.partition('; ')[2]}"
    if (plan.here or travels) and not makers:
        yield Finding("error", "ends-the-job", f"{message}, and a command that fails ends the job.", fix)
    elif plan.here or travels:
        yield Finding("warning", "ends-the-job", f"{message}; unless a line above makes it, the job ends.", fix)
    else:
        ending = " on this machine; where nodes lack it, too, the job ends."
        yield Finding("warning", "ends-the-job", message + ending, fix)


def _quoted(path: str) -> str:
    """For a line of bash, which still puts the home directory in."""
    home = _HOME.match(path)
    return home[0] + shlex.quote(path[home.end() :]) if home else shlex.quote(path)


def _looked_at(plan: Plan, path: str, before: list[list[str]]) -> str | None:
    """The whole path on this machine of one that is given whole, or below the home directory of who runs the job."""
    if not plan.visible or plan.image:
        return None
    home = _HOME.match(path)
    sets_home = "HOME" in plan.profile.env_vars or any(word.startswith("HOME=") for one in before for word in one)
    if home and plan.here and os.environ.get("HOME") and not sets_home:
        path = f"{os.environ['HOME']}/{path[home.end() :]}"
    return path if path.startswith("/") and not set(path) & _UNKNOWN else None


def _is_relative(plan: Plan, form: str, path: str, before: list[list[str]]) -> bool:
    """It is looked for in the job's directory code/: nothing has changed the directory, and PATH does not have it."""
    if path.startswith(("/", "~", "-", "..")) or set(path) & _UNKNOWN or plan.profile.container_workdir:
        return False
    if form.startswith(("source", ". ")) and "/" not in path:
        folders = os.environ.get("PATH", "").split(":") if plan.here else None
        return folders is not None and not any((Path(folder) / path).exists() for folder in folders)
    moved = any(one[0] in _MOVES for one in before) or "CDPATH" in {*plan.profile.env_vars, *os.environ}
    return bool(path) and not moved


def _has(plan: Plan, path: str) -> bool:
    """The job's directory code/ has it."""
    inside = posixpath.normpath(f"code/{path}")
    return any(f"{file.path}/".startswith(f"{inside}/") for file in plan.files)


def _is_missing(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # who may not look there cannot tell
        return False
    return False


def _named(path: str, before: list[list[str]]) -> bool:
    """A line above names the path, or a directory that it lies in, and may make it."""
    words = [word for one in before if one[0] not in ("source", ".") for word in one]
    named = {part.rstrip("/") for word in words for part in (word, *word.split("="))}
    return any(str(above) in named for above in (Path(path), *Path(path).parents[:-1]))
