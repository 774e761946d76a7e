"""Further attempts of a job on Slurm: a chain of jobs, or Slurm's own requeue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automodel_launch.errors import ProfileError

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile


def limits(profile: Profile) -> dict[str, Any] | None:
    """What the batch script's `begin` and `finish` need to know of further attempts; None: there are none."""
    if profile.until is None and profile.chain is None:
        return None
    exclude = [profile.exclude] if profile.exclude else []
    return {"jobs": profile.chain, "failures": profile.max_failures, "exclude": exclude}


def requeue(profile: Profile) -> dict[str, bool]:
    """The option of the script that says whether Slurm may requeue the job; nothing where the person has said it.

    A chain has its next job waiting. Slurm's requeue is slower (it holds a job for two minutes) and cannot change the
    nodes to exclude.

    Raises:
        ProfileError: a chain is to be requeued by Slurm as well.
    """
    given = {key.replace("_", "-"): value for key, value in profile.additional_parameters.items()}
    wanted = next((value is not False for key, value in given.items() if key == "requeue"), None)
    wanted = False if given.get("no-requeue") else wanted
    if limits(profile) is not None:
        if wanted:
            raise ProfileError(
                "additional_parameters.requeue contradicts `until` and `chain`: a chain queues its next job itself.",
                "leave one of the two out",
            )
        return {"no-requeue": True}
    if wanted is not None:
        return {} if "no-requeue" in given or wanted else {"no-requeue": True}
    return {"requeue": True}
