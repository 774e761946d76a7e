"""Is a place usable? What `doctor` asks of each kind of place, and how it judges what it gets."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automodel_launch.doctor.diagnosis import Line
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


def examine(profile: Profile, workspace: Workspace) -> Iterable[Line]:
    """Is the profile's place reachable and usable? The module that asks has the executor's name.

    Raises:
        ClusterError: it cannot be reached.
    """
    from automodel_launch.doctor import diagnosis, forms

    lines: Iterable[Line] = importlib.import_module(f"{__name__}.{profile.executor}").examine(profile, workspace)
    return [*forms.lines(profile), *diagnosis.submits(profile.executor), *lines]
