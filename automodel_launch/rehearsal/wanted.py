"""Whether a plan is rehearsed: the option on the command line, else the profile's key `rehearse`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from automodel_launch.plan.plan import Plan

Option = Literal["on", "memory", "off"] | None
AUTO_S = 25  # before a submission that nobody asked a rehearsal for
ASKED_S = 300  # for one that was asked for


@dataclass(frozen=True)
class Wanted:
    """A rehearsal. `asked`: by the command line, so that what keeps it from being made is told as well."""

    seconds: int
    asked: bool = False
    memory: bool = False


def of(plan: Plan, option: Option, submits: bool) -> Wanted | None:
    """None: no rehearsal.

    Without an option one comes before a submission to a place where a job waits or is charged; on this machine the
    job itself starts as quickly. A number in the profile wants it there too.
    """
    key = plan.profile.rehearse
    seconds = key if isinstance(key, int) else None
    if option == "off":
        return None
    if option is not None:
        return Wanted(seconds or ASKED_S, asked=True, memory=option == "memory")
    if key == "off" or not submits or (plan.here and seconds is None):
        return None
    return Wanted(seconds or AUTO_S)
