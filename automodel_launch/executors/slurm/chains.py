"""Further attempts of a job on Slurm: a chain of jobs, or Slurm's own requeue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ProfileError
from automodel_launch.executors.slurm import spares

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile


_GRES = re.compile(r"(?:^|,)(?:gres:)?gpu(?::[A-Za-z][\w.-]*)?(?::(\d+))?(?=,|\(|$)")


def limits(profile: Profile) -> dict[str, Any] | None:
    """What the batch script's `begin` and `finish` need to know of further attempts; None: there are none.

    A job with `max_gpu_hours` alone is a chain of one: it is ended when they are used up.

    Raises:
        ProfileError: GPU-hours are limited, and the number of GPUs is not given.
    """
    if profile.until is None and profile.chain is None and profile.max_gpu_hours is None:
        return None
    jobs = 1 if profile.until is None and profile.chain is None else profile.chain
    exclude = [profile.exclude] if profile.exclude else []
    limits: dict[str, Any] = {"jobs": jobs, "failures": profile.max_failures, "exclude": exclude}
    if profile.max_gpu_hours is not None:
        limits |= {contract.MAX_GPU_HOURS: profile.max_gpu_hours, contract.PLANNED_GPUS: _gpus(profile)}
    return limits


def _gpus(profile: Profile) -> int:
    """GPUs of a job, as the profile asks for them."""
    found = _GRES.search(profile.gres or "")
    count = profile.gpus_per_node or (int(found.group(1) or 1) if found else 0)
    if not count:
        raise ProfileError(
            f"max_gpu_hours = {profile.max_gpu_hours:g}: the profile does not say how many GPUs a node of the job has.",
            "gpus_per_node = 8; or leave max_gpu_hours out",
        )
    return spares.allocated(profile) * count


def requeue(profile: Profile) -> dict[str, bool]:
    """The one option of the script that says whether Slurm may requeue the job: the person's word, else it may.

    Both ways to say it, `requeue` and `no-requeue`, are in the result; NeMo-Run writes the one that is True.

    A chain has its next job waiting. Slurm's requeue is slower (it holds a job for two minutes) and cannot change the
    nodes to exclude.

    Raises:
        ProfileError: it is no yes or no, or both at once, or a chain is to be requeued by Slurm as well.
    """
    wanted = _wanted(profile)
    if limits(profile) is None:
        may = wanted is not False
        return {"requeue": may, "no-requeue": not may}
    if wanted:
        raise ProfileError(
            "additional_parameters: requeue contradicts `until`, `chain` and `max_gpu_hours`:"
            " a chain queues its next job itself.",
            "leave one of the two out",
        )
    return {"requeue": False, "no-requeue": True}


def _wanted(profile: Profile) -> bool | None:
    """Whether the person wants the job requeued; None where nothing is said."""
    said = {}
    for key, means in (("requeue", True), ("no-requeue", False)):
        value = profile.additional_parameters.get(key)
        if value is not None and not isinstance(value, bool):
            raise ProfileError(f"additional_parameters.{key} = {value!r}: expected true or false.", "requeue = false")
        if value is not None:
            said[key] = value is means
    if len(set(said.values())) > 1:
        raise ProfileError("additional_parameters: requeue and no-requeue contradict each other.", "requeue = false")
    return next(iter(said.values()), None)
