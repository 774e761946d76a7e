"""What the executors share whose jobs run on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

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
