"""Ask recipes/checkpoints.py where a run's checkpoints lie: here, or on the machine behind a connection."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automodel_launch.errors import ClusterError, JobError
from automodel_launch.remote.filesystem import FileSystem, RemoteFileSystem, archive, shell_of
from automodel_launch.remote.shell import Shell

LOOK_S = 600.0  # a directory of a thousand ranks' files on a slow file system
WORK_S = 7 * 24 * 3600.0  # terabytes are copied or uploaded; Ctrl-C ends it
_PROGRAM = ("checkpoints.py", "contract.py", "node_agent.sh")
_FOLDER = "checkpoint_lib"
_NO_SCRATCH, _NO_PYTHON = 91, 92
# The Python is the first that works of: the job's own, this one (here), what the node agent would take.
_SCRIPT = """\
umask 077
scratch=$(mktemp -d "${{TMPDIR:-/tmp}}/launch-checkpoints-XXXXXXXX") || exit 91
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 143' HUP INT TERM
tar -x -m -o -C "$scratch" -f - || exit 91
python=$(sh "$scratch/node_agent.sh" which {first} {last} </dev/null | sed -n '1s/ [^ ]*$//p')
[ -n "$python" ] && [ "$python" != none ] || exit 92
sed -i.was "s|@scratch|$scratch|g" "$scratch/request.json"
export PYTHONDONTWRITEBYTECODE=1
"$python" "$scratch/checkpoints.py" < "$scratch/request.json"
"""


def ask(
    place: FileSystem,
    recipes: Path,
    python: str | None,
    request: Mapping[str, Any],
    *,
    seconds: float = LOOK_S,
    token: str | None = None,
) -> dict[str, Any]:
    """The answer to a request; `python`: the job's, which is taken where it can be started. `token` travels in a file
    that only the owner can read, and the program removes first.

    Raises:
        ClusterError: the place does not answer.
        JobError: it cannot be done; the program's own words.
    """
    shell = shell_of(place)
    own = None if isinstance(place, RemoteFileSystem) else sys.executable
    texts = {"request.json": json.dumps({**request, "scratch": "@scratch"})}
    if token and isinstance(place, RemoteFileSystem):
        texts["token"] = token
        texts["request.json"] = json.dumps({**request, "scratch": "@scratch", "token": "@scratch/token"})
    words = [shlex.quote(_plain(python) or own or ""), shlex.quote(own or "")]
    script = _SCRIPT.format(first=words[0], last=words[1])
    code, out, err = shell.run_bytes(script, archive(_program(recipes), texts), timeout=seconds)
    return _answer(shell, code, out.decode(errors="replace"), err.decode(errors="replace"))


def _plain(python: str | None) -> str | None:
    """A path or a name; one with arguments, or of a container that is not here, will not be found, and others are."""
    return python if python and " " not in python else None


def _program(recipes: Path) -> dict[str, Path]:
    """What travels: the program's files, by their paths."""
    files = {name: recipes / name for name in _PROGRAM}
    below = (path for path in sorted((recipes / _FOLDER).rglob("*.py")))
    return {**files, **{os.path.relpath(path, recipes): path for path in below}}


def _answer(shell: Shell, code: int, out: str, err: str) -> dict[str, Any]:
    try:
        answer = json.loads(out.strip().rpartition("\n")[2])
    except ValueError:
        said = " ".join(err.split())[-300:]
        if code == _NO_PYTHON:
            raise ClusterError(
                f"{shell.place}: there is no Python 3.8 or later.", "agent_python in the profile"
            ) from None
        what = "no room for a temporary directory" if code == _NO_SCRATCH else f"exit code {code}"
        raise ClusterError(f"{shell.place}: checkpoints could not be looked at: {said or what}") from None
    if answer.get("error"):
        raise JobError(f"{answer['error']}.", answer.get("fix"))
    return dict(answer)
