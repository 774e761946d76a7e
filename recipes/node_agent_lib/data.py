"""What a run trains on never changes under it: RUN_DIR/data.json holds the data that it began with.

Node 0's agent looks at them before any rank is started, in every attempt, while it holds the run. The launcher writes
the file where it sees the data, and the first attempt where it does not. Other data end the job, unless the launch said
`run.data_changed=allow`, or the run has not come to those that are others (phases); then they take the place of the
first, and what was made of those is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import Any, Callable, Mapping

import contract
import data_identity

from . import backends
from .backends import newest_checkpoint
from .errors import NodeFailure
from .files import Json, read_json, write_json
from .patterns import pattern
from .spec import Spec

_LATER = "in phases that the run has not come to"
_PATIENCE_S = 10.0  # of a full disk
_REFERENCE = pattern(r"\$\{oc\.env:(?P<name>[A-Za-z_]\w*)(?:,(?P<default>[^${}]*))?\}")


def guard(spec: Spec, attempt: int, environ: Mapping[bytes, bytes], say: Callable[[str], None]) -> None:
    """Record the data, or compare them with the record.

    Raises:
        NodeFailure: the run began with other data.
    """
    if spec.data is None or not spec.data["named"]:
        return
    named = [[form, _filled(value, environ)] for form, value in spec.data["named"]]
    now = data_identity.look(named, [])
    path = os.path.join(spec.run_dir, contract.DATA)
    begun = read_json(path)
    if now["digest"] is None:  # the training itself says what is missing, where it is
        say(f"data: {now['why']}; whether they are those that the run began with is not known")
    elif begun is None or not begun.get("digest"):
        _write(path, spec, now, [], say)
    elif begun["digest"] != now["digest"]:
        differences = data_identity.compare(begun, now, _steps_kept(spec, named))
        if differences and not _allowed(spec.data["allow"], now["digest"], attempt):
            raise NodeFailure(contract.DATA_CHANGED, _refusal(differences))
        told = f"as run.data_changed=allow says: {'; '.join(differences)}" if differences else _LATER
        say(f"data: other ones than before, {told}")
        _forget(spec, say)
        _write(path, spec, now, [*begun.get("before", []), begun["digest"]], say)


def _steps_kept(spec: Spec, named: list[list[Any]]) -> int | None:
    """Steps that the run goes on from; None where its data do not depend on that."""
    if not data_identity.depends_on_steps(named):
        return None
    newest = newest_checkpoint(backends.get(spec.backend), spec.checkpoint_dir)
    return 0 if newest is None else newest + 1


def _refusal(differences: list[str]) -> str:
    what = "; ".join(differences)
    fix = "give it those data again, --fresh for a new run, or run.data_changed=allow to go on with these"
    return f"the data are not those that the run began with: {what} ({fix})"


def _allowed(allow: Any, digest: str, attempt: int) -> bool:
    """What the launcher has seen, or whatever the first attempt of the job finds; never data that change later."""
    return allow == digest or (allow is True and attempt == 0)


def _write(path: str, spec: Spec, now: Json, before: list[str], say: Callable[[str], None]) -> None:
    record = {**now, "time": time.time(), "job_id": spec.job_id, "before": before}
    try:
        write_json(path, record, _PATIENCE_S)
    except OSError as error:
        say(f"{path}: {error.strerror}; later attempts cannot tell whether the data are the same")


def _forget(spec: Spec, say: Callable[[str], None]) -> None:
    """Remove what was made of the former data: an index of them would lead beyond the new ones, or into the wrong."""
    for folder in spec.data["caches"] if spec.data else []:
        if os.path.realpath(folder).startswith(os.path.realpath(spec.run_dir) + os.sep) and os.path.isdir(folder):
            shutil.rmtree(folder, ignore_errors=True)
            say(f"data: removed {folder}, which was made of the former ones")


def _filled(value: Any, environ: Mapping[bytes, bytes]) -> Any:
    """A config's value with the variables that only the job has."""
    if isinstance(value, list):
        return [_filled(one, environ) for one in value]
    if isinstance(value, dict):
        return {name: _filled(one, environ) for name, one in value.items()}

    def known(match: re.Match[str]) -> str:
        found = environ.get(os.fsencode(match.group("name")))
        default = match.group("default")
        return os.fsdecode(found) if found is not None else match.group(0) if default is None else default.strip()

    return _REFERENCE.sub(known, value) if isinstance(value, str) else value
