"""Is what a job depends on still what it was? Data, and the packages of its Python; code and config are its own."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from automodel_launch import contract, data_identity, executors
from automodel_launch.checks import data as data_checks
from automodel_launch.config import yamlio
from automodel_launch.config.dotted import flatten
from automodel_launch.errors import ClusterError
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.jobs import history, rundir
from automodel_launch.jobs.records import is_whole
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.mounts import pairs
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import probes
from automodel_launch.reproduce import again
from automodel_launch.reproduce.left import Left
from automodel_launch.workspace import Workspace

_ASK_S = 60.0
_SHOWN = 8
_LOOK = Path("node_agent_lib", "ran_with.py")
_TRAINS = ("python", "image", "nccl")  # of environment.json, beside the packages
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def findings(left: Left, plan: Plan, workspace: Workspace, offline: bool) -> Iterator[Finding]:
    """What is not as it was when `left` ran, of what `plan`, the same once more, depends on."""
    yield from _beginning(left, plan)
    yield from _data(left, plan, offline)
    yield from _packages(left, plan, workspace, offline)
    changed = again.agent_files(left, workspace)
    if changed:
        message = f"the launcher's own agent is another one now ({len(changed)} files); what trains is the job's."
        yield Finding("note", "other-agent", message)


def _beginning(left: Left, plan: Plan) -> Iterator[Finding]:
    """A job that went on with its run took the steps before it from a checkpoint, which this run has not."""
    rows = history.attempts(left.record.run_dir, left.place)
    began = next((row.get("from_step") for row in rows if row["job_id"] == left.job_id), None)
    if not is_whole(began) or began <= 0 or rundir.has_begun(plan.run_dir, plan.place):
        return
    before = dict(flatten(rundir.trained(left.record.run_dir, left.place) or {}))
    now = dict(flatten(yamlio.json_value(plan.trained)))
    changed = [key for key in sorted(plan.pace) if before.get(key) != now.get(key)]
    pace = [f"{key} {before.get(key)} (here {now.get(key)})" for key in changed]
    message = f"{left.job_id} went on from step {began} of its run; this one takes all steps, from 0 on"
    former = next((row["job_id"] for row in rows if row["job_id"] != left.job_id), None)
    if not pace or former is None:
        yield Finding("note", "from-the-start", f"{message}.")
        return
    message += f". The first ones were taken with {', '.join(pace)}: losses may be others."
    fix = f"first `reproduce {former} --name NEW`, then `reproduce {left.job_id} --name NEW` goes on with that"
    yield Finding("warning", "from-the-start", message, fix)


def _data(left: Left, plan: Plan, offline: bool) -> Iterator[Finding]:
    begun = left.data
    if not plan.data:
        return
    if not begun.get("digest"):
        message = f"what data {left.job_id} trained on was not written down, so it cannot be compared."
        yield Finding("warning", "not-compared", message)
        return
    if plan.visible:
        digest = plan.data.get("digest")
        changed = data_identity.compare(dict(begun), dict(plan.data)) if "rows" in begun else []
        if not changed and digest != begun["digest"]:
            changed = [str(plan.data.get("why") or "they are others, or of other content")]
    elif offline:
        return  # the plan says that it was not asked
    else:
        question = data_checks.question(plan.data["named"], pairs(plan.mounts), left.record.run_dir)
        shell = executors.get(plan.executor).shell(plan.profile)
        changed = data_checks.differences(probes.run(shell, question)) if question else []
    if changed:
        fix = "give it those data again; --force trains on these"
        yield Finding("error", "other-data", f"{left.job_id} trained on other data: {'; '.join(changed)}.", fix)


def _packages(left: Left, plan: Plan, workspace: Workspace, offline: bool) -> Iterator[Finding]:
    before = left.environment
    if before is None:
        message = f"{left.job_id} has no {contract.ENVIRONMENT}: its packages cannot be compared."
        yield Finding("warning", "not-compared", message)
        return
    python = executors.get(plan.executor).job_python(plan)
    if isinstance(python, NotAtHand) or python.waits_s or (offline and not plan.visible):
        reason = python.reason if isinstance(python, NotAtHand) else "no job is asked, and no cluster with --offline"
        message = f"packages are not compared before the start ({reason}); `diff` does so once the job has begun."
        yield Finding("note", "not-compared", message)
        return
    yield from _image(left.job_id, before, python)
    roots = [match[0] for text in plan.recipe.dependencies if (match := _NAME.match(text))]
    now = _now(python, roots, workspace)
    if now is None:
        yield Finding("warning", "not-compared", f"the job's Python {python.where} did not tell its packages.")
        return
    yield from _judged(left.job_id, before, now, python)


def _image(job: str, before: Mapping[str, Any], python: JobPython) -> Iterator[Finding]:
    """Of a runtime that tells what its images hold: a tag that stands for another image now."""
    was = before.get("image_id")
    if not was or python.identity is None:
        return
    now = python.shell.run(python.identity, timeout=_ASK_S).out.strip()
    if now and now != was:
        message = f"{job} ran in another image of the name {before.get('image')}: {was}, now {now}."
        yield Finding("error", "other-image", message, "pull or tag that one again; --force runs in this one")


def _judged(job: str, before: Mapping[str, Any], now: Mapping[str, Any], python: JobPython) -> Iterator[Finding]:
    matter, others = changed_packages(before, now)
    if matter:
        level: Any = "error" if python.own else "warning"
        fix = "install those versions again; --force runs with these"
        message = f"{job} ran with other packages than there are {python.where}: {_listed(matter)}."
        yield Finding(level, "other-packages", message, fix)
    if others:
        message = f"packages that the recipe does not depend on are others than {job} had: {_listed(others)}."
        yield Finding("note", "other-packages", message)


def changed_packages(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What has changed of what the recipe depends on, and of the rest; `NAME OLD, now NEW`."""
    old, new = (found.get("packages") for found in (before, now))
    old, new = ({**values} if isinstance(values, Mapping) else {} for values in (old, new))
    depends = now.get("depends")
    needed = set(depends) if isinstance(depends, list) and depends else {*old, *new}
    matter = [
        f"{key} {before[key]}, now {now.get(key)}"
        for key in _TRAINS
        if key != "image" and before.get(key) and before[key] != now.get(key)
    ]
    others: list[str] = []
    for name in sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)):
        text = f"{name} {old.get(name, 'not installed')}, now {new.get(name, 'not installed')}"
        (matter if name in needed and name in old else others).append(text)
    return matter, others


def _listed(changed: list[str]) -> str:
    return "; ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")


def _now(python: JobPython, roots: list[str], workspace: Workspace) -> dict[str, Any] | None:
    """What the job's Python says of itself; None where it says nothing."""
    source = (workspace.recipes / _LOOK).read_text(encoding="utf-8")
    ask = f"{python.start} -c {shlex.quote(source)} {shlex.join(roots)}"
    script = (
        f"scratch=$(mktemp -d {shlex.quote(python.parent)}/launch-look.XXXXXX) || exit 1; name=${{scratch##*/}}\n"
        f"trap 'rm -rf \"$scratch\"' EXIT\n{ask}\ncode=$?\n{python.stop or ':'} >/dev/null 2>&1\nexit $code"
    )
    try:
        done = python.shell.run(script, timeout=_ASK_S)
        found = json.loads(done.out.strip().rpartition("\n")[2])
    except (ClusterError, ValueError):
        return None
    return found if isinstance(found, dict) else None
