"""What the node agent asks of a backend."""

from __future__ import annotations

import os
import zlib
from typing import Mapping, NamedTuple, Protocol

import contract

from ..files import Json


class Checkpoint(NamedTuple):
    """One checkpoint's directory; it is complete once it is no longer being saved."""

    path: str
    step: int
    complete: bool


class Backend(Protocol):
    """One implementation a training framework. Nothing here raises: a log or directory may hold anything."""

    @property
    def name(self) -> str:
        """As agent.json has it."""

    @property
    def takes_steps(self) -> bool:
        """Whether every training of it takes steps, so that silence before the first one may be a hang."""

    @property
    def tells_saved(self) -> bool:
        """Whether a line tells that a save has ended (parse_saved); else the training's next line does."""

    @property
    def markers(self) -> tuple[bytes, ...]:
        """A line of the log that holds none of them is not parsed: a flooded log must cost little."""

    @property
    def final_codes(self) -> Mapping[int, str]:
        """Exit codes with which every further attempt would end too, and what they mean."""

    def parse_metrics(self, line: str, now: float) -> Json | None:
        """A training step (it has `step` and `loss`) or validation (`step` and `val_loss`) in a line of rank 0's log.

        A step that the framework itself has skipped has neither. A value that is not finite is null and marked by
        `nonfinite`; `time` is `now`.
        """

    def parse_saving(self, line: str) -> str | None:
        """The directory of the checkpoint whose save begins with this line of rank 0's log."""

    def parse_saved(self, line: str) -> bool:
        """Whether a save has ended with this line; never, where `tells_saved` is false."""

    def checkpoints(self, directory: str | None) -> list[Checkpoint]:
        """The checkpoints below `directory`, where their form is known."""

    def finished(self, run_dir: str, before: str) -> bool:
        """Whether the recipe has recorded that the run has reached its end, since finished_mark was `before`."""


def checkpoints_of(directory: str | None) -> list[Checkpoint]:
    """Those below a directory whose names the contract knows; complete once what ends a save is there, or gone."""
    found = []
    for name in _names(directory) if directory else []:
        step = contract.checkpoint_step(name)
        if step is not None:
            path = os.path.join(str(directory), name)
            found.append(Checkpoint(path, step, contract.is_saved(name, _names(path))))
    return found


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def finished_mark(run_dir: str) -> str:
    """What tells the finished.json that is there from any other one, "" where there is none.

    One that was there before is of a run that was shorter. Times do not tell: a file has its server's, a node its own.
    """
    path = os.path.join(run_dir, contract.FINISHED)
    try:
        with open(path, "rb") as file:
            return f"{int(os.fstat(file.fileno()).st_mtime)} {zlib.crc32(file.read()):08x}"
    except OSError:
        return ""


def is_recorded(run_dir: str, before: str) -> bool:
    """Whether there is a finished.json, and not that one."""
    return finished_mark(run_dir) not in ("", before)


def newest_checkpoint(backend: Backend, directory: str | None) -> int | None:
    """Step of the newest complete checkpoint, None where there is none or their form is not known."""
    return max((found.step for found in backend.checkpoints(directory) if found.complete), default=None)
