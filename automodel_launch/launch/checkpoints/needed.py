"""Which checkpoints the configs of runs that have not reached their end name: their next attempt reads them again."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state
from automodel_launch.remote import filesystem
from automodel_launch.remote.filesystem import FileSystem

_ASK_S = 600.0
_BEST = r"[\w-]+/best-[0-9a-f]{8}"  # a sweep's best point (launch/pipeline_sweeps.py): of which run, the next job says
_UNREAD = "\x01cannot be read: "
_TELL = f"""\
tell() {{
  for each; do
    case $each in /*) ;; *) each=$PWD/$each ;; esac
    [ ! -e "$each" ] && [ ! -L "$each" ] || cat -- "$each" 2>/dev/null || printf '\\n{_UNREAD}%s\\n' "$each"
  done
}}
"""


class Needs:
    """Of runs that were submitted from here; the configs of a place are read once, when they are asked for."""

    def __init__(self, jobs: Iterable[tuple[Record, Status]]) -> None:
        last = {(record.executor, record.run_dir): (record, status) for record, status in jobs}
        self._open = [record for record, status in last.values() if _goes_on(record, status)]
        self._texts: dict[FileSystem, str] = {}

    def has(self, run_dir: str, folder: str, name: str, place: FileSystem) -> bool:
        """Whether one of `place` names a run's checkpoint in `folder`, or something in it, wherever it is mounted.

        Raises:
            ClusterError: the place cannot be reached, or a config of it cannot be read.
        """
        path = re.escape(f"{folder}/{name}")
        if f"{folder}/".startswith(f"{run_dir}/"):
            inside = f"{folder.removeprefix(run_dir)}/{name}"
            path = rf"/(?:{re.escape(posixpath.basename(run_dir))}|{_BEST}){re.escape(inside)}"
        if place not in self._texts:
            of_place = (record for record in self._open if _place(record) == place)
            script = "".join(f"tell {shlex.quote(f'{one.job_dir}/{contract.CONFIG}')}\n" for one in of_place)
            self._texts[place] = tell(place, script)
        return re.search(rf"{path}(?![\w.-])", self._texts[place]) is not None


def _goes_on(record: Record, status: Status) -> bool:
    """Whether a job of its run may read its config again; an evaluation by `on_checkpoint` is not resumed."""
    return status.state != contract.COMPLETED and not (record.beside is not None and status.over)


def tell(place: FileSystem, script: str) -> str:
    """Output of a script for bash in which `tell FILE...` writes the files that are there.

    Raises:
        ClusterError: the place cannot be reached, or one of the files cannot be read.
    """
    told = filesystem.output(place, _TELL + script, _ASK_S)
    unread = next((line for line in told.splitlines() if line.startswith(_UNREAD)), None)
    if unread is not None:
        raise ClusterError(f"{unread.removeprefix(_UNREAD)} cannot be read, so which checkpoints it needs is not known")
    return told


def of_place(folder: Path, place: FileSystem) -> Needs:
    """Of the runs of that place alone: no other one is asked how its jobs are."""
    known = [record for record in records.all_records(folder) if _place(record) == place]
    last = {(record.executor, record.run_dir): record for record in known}
    return Needs([state.look(folder, record) for record in last.values()])


def _place(record: Record) -> FileSystem | None:
    """None of a record that this version does not understand."""
    try:
        return executors.get(record.executor).place_of(record)
    except LaunchError:
        return None
