"""What the executors share whose jobs run on this machine."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.remote.shell import LocalShell, Shell

if TYPE_CHECKING:
    from automodel_launch.jobs.records import Record
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

AGAIN_S = 1.2  # an agent takes what comes within a second of what it has heard before for the same signal


def ends_when_told_again(lives: Callable[[], bool], tell: Callable[[], None], limit_s: float) -> bool:
    """Tell an agent that was told to stop again and again, since a busy one may have heard the first time just now.

    Returns whether it has ended `limit_s` after the second time.
    """
    due = time.monotonic() + AGAIN_S
    end = due + limit_s
    while lives():
        if time.monotonic() >= end:
            return False
        if time.monotonic() >= due:
            tell()
            due += AGAIN_S
        time.sleep(0.1)
    return True


def tell_killed(record: Record, who: str) -> None:
    """Write down that a job was cancelled by killing `who`: nobody is left to do so. An end that it has told stays."""
    job = JobDir(record.job_dir)
    node = job.node(0) or {}
    told: dict[str, Any] = {"schema": contract.SCHEMA, "job_id": record.job_id, "attempt": node.get("attempt", 0)}
    told |= {"complete": True, "state": contract.CANCELLED, "code": contract.SIGNALLED + signal.SIGKILL}
    told |= {
        "signal": "SIGKILL",
        "error": f"{contract.MEANINGS[contract.CANCELLED]}; {who} did not react and was killed",
    }
    told |= {"node": node.get("host"), "started": node.get("started"), "ended": time.time(), "step": node.get("step")}
    if job.place.names(record.job_dir):  # else it is gone
        with contextlib.suppress(ClusterError):
            end = {**dict.fromkeys(contract.EXIT_KEYS), "nodes": [], **told}
            job.place.create(job.file(contract.EXIT), json.dumps(end) + "\n")


class OnThisMachine:
    """Members of `executors.Executor`."""

    many_nodes = False
    way: tuple[str, ...] = ()

    def data_dir(self, profile: Profile, workspace: Workspace) -> str:
        """data/ in the checkout, which a container sees at its own path."""
        return str(workspace.data)

    def shell(self, profile: Profile) -> Shell:
        """This machine's."""
        return LocalShell()

    def place(self, profile: Profile) -> FileSystem:
        """This machine's file systems."""
        return LOCAL

    def place_of(self, record: Record) -> FileSystem:
        """This machine's file systems."""
        return LOCAL
