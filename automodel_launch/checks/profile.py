"""The profile: keys without an effect, secrets and names to forward that are not set."""

from __future__ import annotations

import time
from collections.abc import Iterator

from automodel_launch import contract, executors
from automodel_launch.jobs import bad_nodes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import brought
from automodel_launch.profile.keys import NEMOTRON
from automodel_launch.profile.schema import keys_of


def idle_keys(plan: Plan) -> Iterator[Finding]:
    """A key that the executor does not use is reported, unless it is a default of the recipe."""
    used = keys_of(plan.profile.executor)
    for key in sorted(plan.profile.model_fields_set - used - {*NEMOTRON}):
        source = plan.profile_sources.get(key) or _table_source(plan, key)
        if not source.startswith("recipe "):
            yield Finding("note", "no-effect", f"{key} ({source}) has no effect with executor '{plan.executor}'.")


def host_without_tunnel(plan: Plan) -> Iterator[Finding]:
    """The address of a cluster that nothing reads: the job would be submitted on this machine."""
    given = plan.profile.model_fields_set
    if (
        "host" in given
        and "tunnel" not in given
        and plan.profile.tunnel != "ssh"
        and "host" in keys_of(plan.profile.executor)
    ):
        message = (
            f"host = {plan.profile.host!r} ({plan.source('host')}) has no effect: the profile has no tunnel, so the"
        )
        fix = 'tunnel = "ssh"; or tunnel = "local", where this machine is a login node'
        yield Finding("warning", "no-effect", f"{message} job would be submitted on this machine.", fix)


def brought_along(plan: Plan) -> Iterator[Finding]:
    """Keys of Nemotron's launcher that have no meaning here, in one line; a command that does not run is another."""
    source, given = plan.profile_sources.get, plan.profile.model_fields_set
    if "run_command" in given:
        message = f"run_command ({source('run_command')}) does not run: the recipe is what a job runs here."
        yield Finding("warning", "no-effect", message, "launch.py PATH/OF/A/SCRIPT.py runs a script of your own")
    keys = [f"{key} ({source(key)})" for key in NEMOTRON if key in given and key != "run_command"]
    if plan.profile.packager == "hybrid":
        keys.append(f"packager = 'hybrid' ({source('packager')})")
    keys += plan.ignored_settings
    if keys:
        yield Finding("note", "no-effect", f"Of Nemotron's launcher, and without an effect here: {', '.join(keys)}.")


def home_job_root(plan: Plan) -> Iterator[Finding]:
    """Nobody has named a job root on the cluster, and checkpoints are large."""
    if plan.profile_sources.get("remote_job_dir") == brought.DEFAULT:
        message = f"remote_job_dir is not given: runs and checkpoints go into the home directory: {plan.job_root}."
        fix = "remote_job_dir = a directory of a large file system that all nodes see, in the profile"
        yield Finding("warning", "home-job-root", message, fix)


def one_process(plan: Plan) -> Iterator[Finding]:
    """A script that torchrun does not start is one process a node. A profile's own value is for other recipes, too."""
    wanted = plan.profile.nproc_per_node
    source = plan.source("nproc_per_node")
    meant = source.startswith("override ") or source.endswith(" run.env")
    if plan.recipe.launch != "torchrun" and meant and isinstance(wanted, int) and wanted > 1:
        message = f"nproc_per_node = {wanted} ({source}) has no effect: {plan.recipe.name} is one process a node."
        yield Finding(
            "note", "no-effect", message, 'launch = "torchrun" below [tool.runspec.run] starts it once a rank'
        )


def ranks_without_times(plan: Plan) -> Iterator[Finding]:
    """Ranks are measured by the frameworks' recipes; of a single one there is nothing to compare with."""
    every, source = plan.profile.rank_times, plan.source("rank_times")
    own = plan.recipe.backend in (None, contract.NO_BACKEND)
    if every is None or (plan.recipe.backend in contract.STEPLESS and not own):
        return
    if own:
        message = (
            f"rank_times = {every} ({source}) has no effect: {plan.recipe.name} is a script of your own, whose ranks"
        )
        fix = "it is for trainings of AutoModel and Megatron-Bridge; run.env.rank_times=null"
        yield Finding("note", "no-effect", f"{message} are not measured.", fix)
    elif plan.nodes * plan.processes_per_node == 1 and source.startswith("override "):
        message = f"rank_times = {every} ({source}) has no effect: there is one rank, and no other to compare it with."
        yield Finding("note", "no-effect", message)


def unset_names(plan: Plan) -> Iterator[Finding]:
    """Names to forward, and secrets, are set in this shell."""
    for key, names in (("secrets", plan.profile.secrets), ("env", plan.profile.env)):
        for name in names:
            if name in plan.unset:
                source = plan.profile_sources.get(key, plan.profile_name)
                message = f"{key} ({source}) names {name}, which is not set in this shell."
                yield Finding("error", "unset-name", message, f"export {name}=..., or remove it from {key}")


def _table_source(plan: Plan, key: str) -> str:
    return next((s for k, s in plan.profile_sources.items() if k.startswith(f"{key}.")), plan.profile_name)


def failed_nodes(plan: Plan) -> Iterator[Finding]:
    """Nodes that have failed jobs; a chain's further attempts exclude them, its first one is as the script says."""
    if not (plan.visible and executors.get(plan.executor).many_nodes):
        return
    bad = [node.node for node in bad_nodes.known(plan.job_root, plan.place, time.time())]
    if bad and not set(bad) <= set((plan.profile.exclude or "").split(",")):
        command = f"python launch.py nodes {plan.profile_name}"
        message = f"{', '.join(bad)} failed jobs within the last day (`{command}` shows how)."
        yield Finding("note", "bad-nodes", message, f'exclude = "{",".join(bad)}"')


CHECKS = (
    idle_keys,
    host_without_tunnel,
    brought_along,
    home_job_root,
    one_process,
    ranks_without_times,
    unset_names,
    failed_nodes,
)
