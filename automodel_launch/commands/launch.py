"""From the command line to a Plan, and from a Plan to its end: the straight line of docs/architecture.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from automodel_launch import workspace
from automodel_launch.errors import PlanRefused
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace

if TYPE_CHECKING:  # a wrong profile's name is answered before the modules behind a plan are imported
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan


def launch(args: argparse.Namespace) -> int:
    """`launch.py RECIPE ...`: preview, or submit and follow."""
    here, plan, findings = _planned(args)
    refused = any(finding.level == "error" for finding in findings)
    if args.dry_run:
        return _preview(args, here, plan, findings, refused)
    end = _already_finished(plan, args.offline)
    if end is not None:
        return _say_finished(args, plan, end)
    if refused and not args.force:
        raise _refusal(plan, findings)
    _tell(findings)
    return _submit(args, here, plan)


def check(args: argparse.Namespace) -> int:
    """`launch.py check RECIPE ...`: findings only; exit code 3 when one is an error."""
    _, plan, findings = _planned(args)
    from automodel_launch.commands import preview

    if args.json:
        print(json.dumps({"plan_hash": plan.plan_hash, "findings": [f.document() for f in findings]}, indent=1))
    else:
        print(preview.findings_text(findings) or "nothing found")
    return PlanRefused.exit_code if any(finding.level == "error" for finding in findings) else 0


def _planned(args: argparse.Namespace) -> tuple[Workspace, Plan, list[Finding]]:
    """Parts are read in the order in which their errors cost least: env.toml, recipe, config, the plan, its checks."""
    here = workspace.find(args.env)
    profile_name = args.run or args.batch or "local"
    env_file = profiles.load(here.env_file, profile_name)
    recipe = recipes.find(here, args.recipe, also=args.known_commands)
    from automodel_launch import checks
    from automodel_launch.config import configs, overrides, unknown
    from automodel_launch.launch import planning as planning_
    from automodel_launch.plan import plan as planning

    parsed = [overrides.parse(text) for text in args.overrides]
    unknown.refuse_bare_options(parsed, args.options)
    layered = configs.load(recipe, args.config, parsed, args.options)
    mode: planning.Mode = "batch" if args.batch else "run"
    options: dict[str, Any] = {"name": args.name, "fresh": args.fresh, "offline": args.offline}
    plan = planning_.make(here, env_file, profile_name, recipe, layered, mode=mode, **options)
    return here, plan, checks.run(plan, offline=args.offline)


def _preview(args: argparse.Namespace, here: Workspace, plan: Plan, findings: list[Finding], refused: bool) -> int:
    from automodel_launch.commands import preview

    if args.json:
        print(json.dumps(preview.document(plan, findings), indent=1))
    else:
        preview.show(plan, findings, colour=profiles.load(here.env_file).theme != "plain")
    return PlanRefused.exit_code if refused else 0


def _already_finished(plan: Plan, offline: bool) -> dict[str, Any] | None:
    """A finished run is one that has reached its end with these very settings; a longer one goes on."""
    from automodel_launch import backends
    from automodel_launch.jobs import rundir

    end = rundir.finished(plan.run_dir, plan.place) if plan.visible or not offline else None
    if end is None or (end.get("step") or 0) < (backends.of(plan.recipe).max_steps(plan.config) or 0):
        return None
    return None if rundir.differences(plan.run_dir, plan.trained, plan.place) else end


def _say_finished(args: argparse.Namespace, plan: Plan, end: dict[str, Any]) -> int:
    if args.json:
        print(json.dumps({"run_name": plan.run_name, "state": "FINISHED", "plan_hash": plan.plan_hash, **end}))
        return 0
    _say(f"run {plan.run_name} is finished (step {end.get('step')}); nothing was started. --fresh starts it anew.")
    for label, key in (("checkpoint", "checkpoint"), ("for transformers", "hf")):
        if end.get(key):
            _say(f"  {label}: {end[key]}")
    return 0


def _refusal(plan: Plan, findings: list[Finding]) -> PlanRefused:
    from automodel_launch.commands import preview

    errors = [finding for finding in findings if finding.level == "error"]
    count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
    return PlanRefused(
        f"{plan.run_name} was not submitted: {count}.\n{preview.findings_text(errors)}",
        "--dry-run shows the whole plan; --force submits it all the same",
    )


def _tell(findings: list[Finding]) -> None:
    from automodel_launch.commands import preview

    if findings:
        _say(preview.findings_text(findings))


def _submit(args: argparse.Namespace, here: Workspace, plan: Plan) -> int:
    from automodel_launch.jobs import records
    from automodel_launch.launch import follow
    from automodel_launch.launch.submit import submit

    _warn_of_another_job(here, plan)
    began = time.monotonic()
    _say(f"starting {plan.job_id} on {plan.profile_name}: {_size(plan)} ...")
    plan, record = submit(plan, here)
    _say(f"started {plan.job_id} in {time.monotonic() - began:.1f} s; logs in {plan.job_dir}/logs")
    if plan.mode == "batch":
        if args.json:
            print(json.dumps(asdict(record)))
        else:
            print(plan.job_id)
            for verb in ("attach", "status", "cancel"):
                _say(f"  python launch.py {verb} {plan.job_id}")
        return 0
    follower = follow.Follower(record, ranks=[0], out=sys.stderr if args.json else sys.stdout)
    status, code = follower.run()
    records.remember(here.records, record, status)
    if args.json:
        print(json.dumps({**asdict(record), **asdict(status), "exit_code": code}))
    _say(follow.closing_block(record, status))
    return code


def _warn_of_another_job(here: Workspace, plan: Plan) -> None:
    """Two jobs of one run cannot train at once: the later one would wait for its nodes, and end."""
    from automodel_launch import executors
    from automodel_launch.jobs import records

    ours = [record for record in records.all_records(here.records) if record.run_dir == plan.run_dir]
    if not ours or ours[-1].end is not None:
        return
    last = ours[-1]
    now = executors.get(last.executor).status(last)
    if now.state in ("PENDING", "RUNNING"):
        _say(f"warning: {last.job_id} trains this run already ({now.state}); while it does, no other job of it can.")
        _say(f"  fix: python launch.py attach {last.job_id}; or --fresh for a run of its own")


def _size(plan: Plan) -> str:
    nodes = f"{plan.nodes} nodes x " if plan.nodes > 1 else ""
    return f"{nodes}{plan.processes_per_node} process{'es' if plan.processes_per_node > 1 else ''}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
