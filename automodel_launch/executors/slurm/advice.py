"""What sbatch's words of a refusal may mean, in keys of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

# Words of sbatch's refusals (slurm_strerror of 22.05, and sbatch's own), and the keys that can mend them.
_MEANT = {
    "partition": ("partition", "run_partition", "batch_partition"),
    "account": ("account",),
    "qos": ("qos",),
    "time": ("time",),
    "feature": ("constraint",),
    "gres": ("gres",),
    "dependency": ("dependency",),
    "reservation": ("reservation",),
    "signal": ("signal",),
    "node name": ("nodelist", "exclude"),
    "node count": ("nodes",),
    "node configuration": ("nodes", "gpus_per_node", "cpus_per_task", "mem", "constraint", "nodelist", "exclude"),
    "memory": ("mem",),
}


def fix(said: str, plan: Plan | None = None) -> str:
    """The keys that sbatch's words may mean; with a plan, what they are and where that was set."""
    meant = dict.fromkeys(key for word, keys in _MEANT.items() if word in said.lower() for key in keys)
    if not meant:
        return "--dry-run shows the script"
    given = {key: getattr(plan.profile, key) for key in meant} if plan else {}
    shown = [
        f"{key} = {value!r} ({plan.profile_sources.get(key, plan.profile_name)})"
        for key, value in given.items()
        if plan and value is not None
    ]
    if not plan or not shown:
        return f"check {', '.join(meant)} in the profile"
    return f"check {', '.join(shown)}; sinfo on the cluster, or doctor {plan.profile_name}, tell what there is"
