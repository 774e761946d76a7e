"""What the ranks of this node are at, as one of them tells it in the file that LAUNCH_PHASE_FILE names."""

from __future__ import annotations

import os
from dataclasses import dataclass

import contract

from .files import Json, as_number, parse, read_json

_FILE = "phase"


@dataclass(frozen=True)
class Phase:
    """`text` is None while they take steps; `mark` changes while they go on within a phase."""

    text: str | None
    since: float | None
    mark: object


def path(directory: str) -> str:
    """The file in the agent's private directory."""
    return os.path.join(directory, _FILE)


def read(directory: str) -> Phase | None:
    """What was told last, None where the script tells nothing of the kind."""
    try:
        mark = os.stat(path(directory)).st_mtime_ns
    except OSError:
        return None
    raw = read_json(path(directory)) or {}
    text, since = (raw.get(key) for key in contract.PHASE_KEYS)
    return Phase(text if isinstance(text, str) and text else None, as_number(since), mark)


class Past:
    """The phases that are over, each told once."""

    def __init__(self, directory: str) -> None:
        self._path = contract.past_phases(path(directory))
        self._offset = 0

    def new(self) -> list[Json]:
        """Those since the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole + newline)
        found = [parse(line) for line in whole.decode("utf-8", "replace").split("\n")]
        return [entry for entry in found if entry and all(key in entry for key in contract.PAST_PHASE_KEYS)]
