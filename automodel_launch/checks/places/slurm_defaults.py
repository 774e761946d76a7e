"""What a cluster, or a person's shell on it, decides for a job where the profile says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import slurm_site
from automodel_launch.remote.probes import Result, Results
from automodel_launch.remote.slurm_environment import PLAIN

ASKED = {
    "chosen": 'for name in SBATCH_CLUSTERS SLURM_CLUSTERS; do echo "$name=${!name}"; done',
    "config": f"{PLAIN}scontrol show config | grep -E '^(ClusterName|SelectType|JobDefaults) '",
}
_CPUS = ("cpus-per-gpu", "mincpus", "cores-per-socket", "extra-node-info", "exclusive")


def findings(plan: Plan, names: list[str], answers: Results) -> Iterator[Finding]:
    """Both questions, of partitions with these names."""
    config = dict(re.findall(r"^(\w+) *= *(.*)$", answers["config"].text, re.MULTILINE))
    yield from _another_cluster(answers["chosen"], config.get("ClusterName", ""))
    partitions = [line for line in answers["partitions"].text.splitlines() if _name(line) in names]
    if partitions and "SelectType" in config:
        whole = config["SelectType"] == "select/linear"
        yield from _few_cpus(
            plan, names, [line for line in partitions if not whole and not _gives_cpus(plan, config, line)]
        )


def _another_cluster(chosen: Result, here: str) -> Iterator[Finding]:
    """SLURM_CLUSTERS, and its like: the submission does not see it, so it would not go where the person means it to."""
    for line in chosen.text.splitlines():
        name, _, value = line.partition("=")
        if here and value not in ("", here):
            message = (
                f"{name} is {value} in the shell that submits; the job would be submitted to {here}, this one's own."
            )
            fix = f'unset {name} to have it there; for {value} launch from its login node, or tunnel = "ssh" with host'
            yield Finding("error", "another-cluster", message, fix)


def _few_cpus(plan: Plan, names: list[str], partitions: list[str]) -> Iterator[Finding]:
    """A job that asks for no CPUs gets one a node, where nodes are shared and no default says otherwise."""
    profile, count = plan.profile, plan.processes_per_node
    whole = profile.exclusive not in (None, False, "user", "mcs")  # those two keep others off, and give no CPUs
    asked = profile.cpus_per_task or whole or any(key in profile.additional_parameters for key in _CPUS)
    if count > 1 and partitions and not asked:
        message = f"no CPUs are asked for: {', '.join(names)} gives one a node, for {count} training processes."
        yield Finding(
            "warning", "few-cpus", message, "cpus_per_task = 8 (for each training process), or exclusive = true"
        )


def _gives_cpus(plan: Plan, config: dict[str, str], partition: str) -> bool:
    """Whole nodes, or so many for each GPU."""
    per_gpu = "DefCpuPerGPU" in partition + config.get("JobDefaults", "")
    return "OverSubscribe=EXCLUSIVE" in partition or bool(per_gpu and plan.profile.gpus_per_node)


def _name(line: str) -> str:
    found = slurm_site.partitions(line)
    return found[0].name if found else ""
