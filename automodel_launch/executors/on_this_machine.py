"""What the executors share whose jobs run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.remote.shell import LocalShell, Shell

if TYPE_CHECKING:
    from automodel_launch.jobs.records import Record
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


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
