"""Spare nodes of a job: allocated with it, and idle until one that trains is lost (node_agent_lib/keeper.py).

`profile.nodes` stays what trains, and all that is derived from it; only what is asked of Slurm is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from automodel_launch.errors import ProfileError

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

_KILLS = ("--kill-on-bad-exit", "-K", "--wait", "-W", "--no-kill")  # the profile's words come last, and count
_HARMLESS = ("--kill-on-bad-exit=0", "-K0", "--wait=0", "-W0", "--no-kill")


def allocated(profile: Profile) -> int:
    """Nodes that Slurm is asked for."""
    return profile.nodes + profile.spares


def sbatch(profile: Profile) -> dict[str, bool]:
    """Slurm keeps the job where a node of it fails."""
    return {"no-kill": True} if profile.spares else {}


def srun(profile: Profile) -> list[str]:
    """... and its step, of which a task may end early. NeMo-Run (0.11.1) writes `--wait=60 --kill-on-bad-exit=1` before
    these; the last word counts.
    """
    return ["--no-kill", "--kill-on-bad-exit=0", "--wait=0"] if profile.spares else []


def checked(profile: Profile, sources: Mapping[str, str]) -> int:
    """The number of spares.

    Raises:
        ProfileError: another key leaves them no room, or makes Slurm end the job with its node all the same.
    """
    if not profile.spares:
        return 0
    where = f"spares = {profile.spares} ({sources.get('spares', 'profile')})"
    if profile.segment is not None and allocated(profile) % profile.segment:
        raise ProfileError(
            f"{where} and nodes = {profile.nodes} are {allocated(profile)} nodes, which are no multiple of"
            f" segment = {profile.segment} ({sources.get('segment', 'profile')}).",
            f"spares = {-profile.nodes % profile.segment or profile.segment}, or no segment",
        )
    if str(profile.exclusive or "").lower() == "topo":
        raise ProfileError(
            f'{where}: exclusive = "topo" ({sources.get("exclusive", "profile")}) gives the job whole parts of the'
            " network, and which of their nodes are spare is not known then.",
            "leave one of the two out",
        )
    kill = profile.additional_parameters.get("no-kill", True)
    if kill is not True:  # "off" is what turns it off for sbatch
        written = "false" if kill is False else repr(kill)
        message = f"{where} contradicts additional_parameters.no-kill = {written}."
        raise ProfileError(message, "leave one of the two out")
    word = next((word for word in profile.srun_args if word.startswith(_KILLS) and word not in _HARMLESS), None)
    if word is not None:
        raise ProfileError(
            f"{where} contradicts srun_args: {word!r}: a node that is lost would end the others.",
            "leave one of the two out",
        )
    return profile.spares
