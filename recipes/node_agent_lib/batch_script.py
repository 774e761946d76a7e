"""Is the batch script there, of a job with spares? Slurm keeps such a job (`--no-kill`) also where it is lost.

The script touches a file in the background (seats.exports). Slurm's word on its node is quicker where it has one.
"""

from __future__ import annotations

import time

from . import seats, slurm
from .silence import Silence

_LOOK_EVERY_S = 0.25
_SLURM_S = 4.0  # for Slurm's answer


class BatchScript:
    """Contract: `watch` is called all the time by the keeper that decides; `host` is the node of the script."""

    def __init__(self, job_dir: str, host: str) -> None:
        self._path = seats.report_path(job_dir, seats.BATCH_SCRIPT)
        self._host = host
        self._silence = Silence(1, down=self._down)
        self._silent_s = 0.0

    def watch(self) -> bool:
        """Look at its file; whether that has changed since the last look."""
        before, self._silent_s = self._silent_s, self._silence.look(seats.BATCH_SCRIPT, self._path)
        return self._silent_s < before

    def is_lost(self) -> bool:
        """Whether it is; for as long as it takes to tell, at most what a node may be silent."""
        self.watch()
        while self._silence.has_been_there(seats.BATCH_SCRIPT):
            if self._silence.lost([seats.BATCH_SCRIPT]):
                return True
            time.sleep(_LOOK_EVERY_S)
            if self.watch():
                return False
        return False  # it could not begin as it should, and nobody knows

    def _down(self, _silent: list[str]) -> list[str]:
        return [seats.BATCH_SCRIPT] if slurm.down([self._host], _SLURM_S) else []
