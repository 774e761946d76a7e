"""`doctor --gpu PROFILE`: a short job on the profile's nodes, from its plan to the printed verdict.

The job is the recipe `gpu-check` on the ordinary line: plan, checks, submit, follow. What is its own is here: the
values that come from the profile, an end for a check that hangs, and the gathering of what the nodes have written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from automodel_launch import executors, workspace
from automodel_launch.errors import ClusterError, JobError, PlanRefused
from automodel_launch.jobs.jobdir import parse
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles

if TYPE_CHECKING:  # a wrong profile's name is answered before the modules behind a plan are imported
    from automodel_launch.doctor.gpu.verdict import Node, Verdict
    from automodel_launch.jobs.records import Record, Status
    from automodel_launch.plan.plan import Plan
    from automodel_launch.remote.filesystem import FileSystem
    from automodel_launch.workspace import Workspace

RECIPE = "gpu-check"
FOLDER = "gpu-check"  # recipes/gpu_check_lib/record.py
ALONE = ("dependency", "until", "chain", "until", "chain")  # keys for jobs that belong to others; this one stands alone
TIME = "00:10:00"  # the job takes two minutes; a container's image may have to be fetched before
GIVE_UP_S = 30.0  # Slurm waits longer than this for a node that does not let a killed job go


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
        _say(f"{plan.job_id}: {status.error or 'the check was stopped'}")
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
    from automodel_launch.profile.schema import keys_of

    profile, known = plan.profile, keys_of(plan.profile.executor)
    ranks = executors.get(plan.executor).processes(profile)
    cpus = (profile.cpus_per_task or 1) * ranks  # the recipe is one process a node, and starts the others itself
    env: dict[str, Any] = {"time": TIME, "stall": "off", "code": [], "cpus_per_task": cpus}
    env.update({key: None for key in ALONE if getattr(profile, key) is not None})
    values: dict[str, Any] = {"ranks": ranks, "gpus": profile.gpus_per_node or 0, "paths": paths(plan)}
    values.update({f"run.env.{key}": value for key, value in env.items() if key in known})
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
        seen = [(mount.source, mount.read_only) for mount in bare]
    ordered = sorted(dict(seen).items(), key=lambda entry: entry[0] != plan.job_root)
    return [{"path": path, "write": not read_only} for path, read_only in ordered]


def _refuse(plan: Plan) -> None:
    from automodel_launch import checks
    from automodel_launch.commands import preview

    findings = checks.run(plan)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        said = preview.findings_text(errors)
        raise PlanRefused(f"the check was not submitted:\n{said}", "docs/checks.md tells more of each finding")
    warnings = [finding for finding in findings if finding.level == "warning"]
    if warnings:
        _say(preview.findings_text(warnings))


def _run(here: Workspace, plan: Plan) -> tuple[Plan, Watch, Status, int]:
    """Submit and follow: the plan with the job's id, whether it had to be stopped from here, its end, the exit code."""
    from automodel_launch.jobs import records
    from automodel_launch.launch import follow
    from automodel_launch.launch.submit import submit

    _say(f"looking at {plan.nodes} node{'s' if plan.nodes > 1 else ''} of {plan.profile_name}; about two minutes ...")
    plan, record = submit(plan, here)
    _say(f"job {plan.job_id}; what it finds lies in {plan.job_dir}/{FOLDER}")
    limit = float(plan.config["total_s"] + 3 * plan.config["pair_s"])
    watch = Watch(record, limit)
    follower = follow.Follower(record, ranks=[0], out=sys.stderr, watch=watch)
    status, code = follower.run()
    records.remember(here.records, record, status)
    return plan, watch, status, code


@dataclass
class Watch:
    """Stops a check that does not end by itself within `limit_s` seconds of its start, or that Slurm begins anew.

    Nodes see to their own limits; a node that hangs as a whole cannot, and Slurm would wait for it.
    """

    record: Record
    limit_s: float
    now: Callable[[], float] = time.monotonic
    began: float | None = None
    stopped: float | None = None
    late: bool = False  # stopped because of the limit
    place: FileSystem = field(init=False)

    def __post_init__(self) -> None:
        self.place = executors.get(self.record.executor).place_of(self.record)

    def __call__(self, status: Status) -> bool:
        """Look at a state; True when there is nothing more to wait for."""
        now = self.now()
        if self.began is None and status.state == "RUNNING" and self._some_node_has_begun():
            self.began = now
        anew = status.state == "PENDING"
        late = self.began is not None and now - self.began > self.limit_s
        if self.stopped is None and self.began is not None and (anew or late):
            self.stopped, self.late = now, not anew
            with contextlib.suppress(ClusterError, JobError):
                executors.get(self.record.executor).cancel(self.record, now=True)
        return self.stopped is not None and now - self.stopped > GIVE_UP_S

    def _some_node_has_begun(self) -> bool:
        try:
            return bool(self.place.names(f"{self.record.job_dir}/nodes"))
        except ClusterError:
            return False


def _verdict(plan: Plan, status: Status, watch: Watch) -> Verdict:
    from automodel_launch.doctor.gpu import node
    from automodel_launch.doctor.gpu import verdict as doctor_gpu

    nodes = gather(plan.place, plan.job_dir, plan.nodes, watch.late)
    told = watch.stopped is not None or status.state in ("COMPLETED", "FAILED", "NODE_FAIL")
    ended = None if told else status.error or status.state
    return doctor_gpu.judge(nodes, node.Limits.of(plan.config), ended)


def gather(place: FileSystem, job_dir: str, count: int, late: bool = False) -> list[Node]:
    """What every node has written itself, and what its agent says of one that has not come to its end.

    `late`: the check was stopped because of its limit. Nodes that are well have ended by then. Where it was stopped for
    another reason, mostly a node that died, those whose agents were told to stop are not to blame.
    """
    from automodel_launch.doctor.gpu.verdict import DONE, Node

    files = [f"{job_dir}/{FOLDER}/node-{number}.json" for number in range(count)]
    files += [f"{job_dir}/nodes/{number}.json" for number in range(count)]
    read = [parse(found[0]) if found else None for found in place.read_many([(name, 0) for name in files])]
    facts, agents = read[:count], read[count:]
    names = next((known["hosts"] for known in facts if known and known.get("hosts")), None)
    own = {number: error for number, agent in enumerate(agents) if (error := _own_failure(agent))}
    nodes = []
    for number in range(count):
        host = (facts[number] or agents[number] or {}).get("host") or (names[number] if names else f"node {number}")
        if (facts[number] or {}).get("phase") == DONE:
            nodes.append(Node(number, host, facts[number]))
            continue
        silence = own.get(number) or _silence(agents[number], late)
        stopped = bool((agents[number] or {}).get("stop")) and not late
        victim = number not in own and (bool(own) or stopped)
        nodes.append(Node(number, host, facts[number], silence, victim))
    return nodes


def _silence(agent: Mapping[str, Any] | None, late: bool) -> str:
    if agent is None:
        return "its agent never started"
    if late:
        return "it did not end within the check's limits"
    return "it was told to stop" if agent.get("stop") else "the node died or was cut off: its agent has left no end"


def _own_failure(agent: Mapping[str, Any] | None) -> str | None:
    """Why this node has failed by itself, and not because of another."""
    failure = (agent or {}).get("failure") or {}
    if failure and not failure.get("victim"):
        return str(failure.get("error"))
    for rank in (agent or {}).get("records") or []:
        if rank.get("code") and rank.get("told_to_end") is None and not (agent or {}).get("stop"):
            return str(rank.get("error") or f"exit code {rank['code']}")
    return None


def _show(args: argparse.Namespace, here: Workspace, plan: Plan, verdict: Verdict) -> None:
    from automodel_launch.doctor.gpu import text as doctor_gpu_text
    from automodel_launch.profile.schema import keys_of

    can_exclude = "exclude" in keys_of(plan.profile.executor)
    present = (plan.profile.exclude or "") if can_exclude else None
    if args.json:
        line = doctor_gpu_text.exclude_line(present, verdict.bad) if verdict.bad and present is not None else None
        head = {"profile": args.profile, "executor": plan.executor, "job_id": plan.job_id, "exclude": line}
        print(json.dumps({**head, **verdict.document()}, indent=1))
        return
    theme = profiles.load(here.env_file).theme
    colour = sys.stdout.isatty() and theme != "plain"
    print(doctor_gpu_text.text(verdict, present, args.profile, plan.config["gpus"], colour))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
