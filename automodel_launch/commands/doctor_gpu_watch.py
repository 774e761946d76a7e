"""What ends a `doctor --gpu` that hangs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from automodel_launch import executors
from automodel_launch.errors import ClusterError, JobError

if TYPE_CHECKING:
    from automodel_launch.jobs.records import Record, Status
    from automodel_launch.remote.filesystem import FileSystem

GIVE_UP_S = 30.0  # Slurm waits longer than this for a node that does not let a killed job go


@dataclass
class Watch:
    """Stops a check that does not end by itself within `limit_s` seconds of its start, or that Slurm begins anew.

    Nodes see to their own limits; a node that hangs as a whole cannot, and Slurm would wait for it.
    """

    record: Record
    limit_s: float
    now: Callable[[], float] = time.monotonic
    began: float | None = None
    stopped: float | None = None
    late: bool = False  # stopped because of the limit
    place: FileSystem = field(init=False)

    def __post_init__(self) -> None:
        self.place = executors.get(self.record.executor).place_of(self.record)

    def __call__(self, status: Status) -> bool:
        """Look at a state; True when there is nothing more to wait for."""
        now = self.now()
        if self.began is None and status.state == "RUNNING" and self._some_node_has_begun():
            self.began = now
        anew = status.state == "PENDING"
        late = self.began is not None and now - self.began > self.limit_s
        if self.stopped is None and self.began is not None and (anew or late):
            self.stopped, self.late = now, not anew
            with contextlib.suppress(ClusterError, JobError):
                executors.get(self.record.executor).cancel(self.record, now=True)
        return self.stopped is not None and now - self.stopped > GIVE_UP_S

    def _some_node_has_begun(self) -> bool:
        try:
            return bool(self.place.names(f"{self.record.job_dir}/nodes"))
        except ClusterError:
            return False
