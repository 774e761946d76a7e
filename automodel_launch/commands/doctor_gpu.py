"""`doctor --gpu PROFILE`: a short job on the profile's nodes, from its plan to the printed verdict.

The job is the recipe `gpu-check` on the ordinary line: plan, checks, submit, follow. What is its own is here: the
values that come from the profile, an end for a check that hangs, and the gathering of what the nodes have written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from automodel_launch import executors, workspace
from automodel_launch.commands import console
from automodel_launch.commands.doctor_gpu_gather import FOLDER, gather
from automodel_launch.commands.doctor_gpu_watch import Watch
from automodel_launch.errors import LaunchError, PlanRefused
from automodel_launch.plan import recipes
from automodel_launch.profile import alone, profiles
from automodel_launch.profile.schema import keys_of

if TYPE_CHECKING:  # a wrong profile's name is answered before the modules behind a plan are imported
    from automodel_launch.doctor.gpu.verdict import Verdict
    from automodel_launch.jobs.records import Status
    from automodel_launch.plan.plan import Plan
    from automodel_launch.workspace import Workspace

RECIPE = "gpu-check"
AGAIN = "`python launch.py attach JOB` follows that job, `cancel JOB` ends it; then `doctor --gpu` again"
TIME = "00:10:00"  # the job takes two minutes; a container's image may have to be fetched before


def doctor(args: argparse.Namespace) -> int:
    """The verdict; exit code 0 when all is well, 1 when something is not."""
    here = workspace.find(args.env)
    env_file = profiles.load(here.env_file, args.profile)
    plan = _plan(here, env_file, args)
    _refuse(plan)
    plan, watch, status, code = _run(here, plan)
    if not status.over and watch.stopped is None:
        return code
    if code >= 128 and status.state == "CANCELLED" and watch.stopped is None:  # Ctrl-C, or `cancel` from elsewhere
        console.say(f"{plan.job_id}: {status.error or 'the check was stopped'}")
        return code
    verdict = _verdict(plan, status, watch)
    _show(args, here, plan, verdict)
    return 0 if verdict.well else 1


def _plan(here: Workspace, env_file: profiles.EnvFile, args: argparse.Namespace) -> Plan:
    """Twice: what the check needs of the profile is known when the profile is whole."""
    recipe = recipes.find(here, RECIPE)
    from automodel_launch.config import configs, overrides
    from automodel_launch.launch import planning

    def planned(texts: Iterable[str]) -> Plan:
        layered = configs.load(recipe, None, [overrides.parse(text) for text in texts])
        return planning.make(here, env_file, args.profile, recipe, layered)

    return planned([*own_values(planned(args.overrides)), *args.overrides])


def own_values(plan: Plan) -> list[str]:
    """Overrides that fit the check to the plan's profile; keys that its executor does not have are left out."""
    profile, executor = plan.profile, executors.get(plan.executor)
    ranks = executor.processes(profile)
    cpus = (profile.cpus_per_task or 1) * ranks  # the recipe is one process a node, and starts the others itself
    env: dict[str, Any] = {"time": TIME, "stall": "off", "code": [], "cpus_per_task": cpus}
    said = profile.model_dump(mode="json")
    env.update({key: value for key, value in alone.reset(plan.profile.executor).items() if said[key] != value})
    values: dict[str, Any] = {"ranks": ranks, "gpus": profile.gpus_per_node or 0, "paths": paths(plan)}
    values.update({f"run.env.{key}": value for key, value in env.items() if key in keys_of(plan.profile.executor)})
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def paths(plan: Plan) -> list[dict[str, Any]]:
    """What has to be there on every node: the job root, and the profile's mounts.

    In a container these are their targets; nodes as they are have the sources only.
    """
    from automodel_launch.executors import sbatch_validation
    from automodel_launch.executors.containers import mounts as mount_keys

    if plan.mounts:
        seen = [(mount.target, mount.read_only) for mount in plan.mounts if mount.target != sbatch_validation.NEMO_RUN]
    else:
        source = plan.profile_sources.get("mounts", plan.profile_name)
        bare = mount_keys.read(plan.profile.mounts, plan.job_root, source)
        seen = [(mount.source, mount.read_only) for mount in bare if mount.has_source]
    ordered = sorted(dict(seen).items(), key=lambda entry: entry[0] != plan.job_root)
    return [{"path": path, "write": not read_only} for path, read_only in ordered]


def _refuse(plan: Plan) -> None:
    from automodel_launch import checks
    from automodel_launch.commands import preview

    findings = [replace(finding, fix=_own_fix(finding.fix)) for finding in checks.run(plan)]
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        said = preview.findings_text(errors)
        raise PlanRefused(f"the check was not submitted:\n{said}", "docs/checks.md tells more of each finding")
    warnings = [finding for finding in findings if finding.level == "warning"]
    if warnings:
        console.say(preview.findings_text(warnings))


def _own_fix(written: str | None) -> str | None:
    """Without options that a launch has, and this command has not."""
    return AGAIN if "--fresh" in (written or "") else written


def _run(here: Workspace, plan: Plan) -> tuple[Plan, Watch, Status, int]:
    """Submit and follow: the plan with the job's id, whether it had to be stopped from here, its end, the exit code."""
    from automodel_launch.jobs import records
    from automodel_launch.launch import follow
    from automodel_launch.launch.submit import submit

    console.say(f"looking at {console.many(plan.nodes, 'node')} of {plan.profile_name}; about two minutes ...")
    try:
        plan, record = submit(plan, here)
    except LaunchError as error:
        error.hint = _own_fix(error.hint)
        raise
    console.say(f"job {plan.job_id}; what it finds lies in {plan.job_dir}/{FOLDER}")
    limit = float(plan.config["total_s"] + 3 * plan.config["pair_s"])
    watch = Watch(record, limit)
    follower = follow.Follower(record, ranks=[0], out=sys.stderr, watch=watch, own=True)
    status, code = follower.run()
    records.remember(here.records, record, status)
    return plan, watch, status, code


def _verdict(plan: Plan, status: Status, watch: Watch) -> Verdict:
    from automodel_launch.doctor.gpu import node
    from automodel_launch.doctor.gpu import verdict as doctor_gpu

    nodes = gather(plan.place, plan.job_dir, plan.nodes, watch.late)
    told = watch.stopped is not None or status.state in ("COMPLETED", "FAILED", "NODE_FAIL")
    ended = None if told else status.error or status.state
    return doctor_gpu.judge(nodes, node.Limits.of(plan.config), ended)


def _show(args: argparse.Namespace, here: Workspace, plan: Plan, verdict: Verdict) -> None:
    from automodel_launch.doctor.gpu import text as doctor_gpu_text

    can_exclude = "exclude" in keys_of(plan.profile.executor)
    present = (plan.profile.exclude or "") if can_exclude else None
    if args.json:
        line = doctor_gpu_text.exclude_line(present, verdict.bad) if verdict.bad and present is not None else None
        head = {"profile": args.profile, "executor": plan.executor, "job_id": plan.job_id, "exclude": line}
        console.document({**head, **verdict.document()})
        return
    colour = console.colours(profiles.load(here.env_file).theme)
    text = doctor_gpu_text.text(verdict, present, args.profile, plan.config["gpus"], colour)
    console.out(text, colour)
