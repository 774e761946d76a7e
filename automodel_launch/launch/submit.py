"""Plan -> the job's directory -> the executor -> Job. What is written and started is the plan's text, to the byte."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from automodel_launch import backends, contract, executors
from automodel_launch.errors import ClusterError, LaunchError, SubmissionUnknown
from automodel_launch.jobs import records as jobs
from automodel_launch.jobs import rundir
from automodel_launch.launch import planning
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.plan import gitstate, naming, packaging, secrets
from automodel_launch.plan.plan import Plan
from automodel_launch.workspace import Workspace

RESERVATIONS = 1000


def submit(
    plan: Plan,
    workspace: Workspace,
    environ: Mapping[str, str] | None = None,
    interrupts: Interrupts | None = None,
) -> tuple[Plan, jobs.Record]:
    """Reserve the job's id, write its directory and start it.

    Another launcher may have taken the id since the plan was made; the plan for the next one has the same hash.
    Signals are held meanwhile: collected in `interrupts` where those are given, else delivered when the job's record
    is written. `environ` has the values of secrets (default: this process's environment).

    Raises:
        ClusterError: the directory cannot be written or the executor refused; nothing is left behind.
    """
    environ = os.environ if environ is None else environ
    held = interrupts or Interrupts()
    with held.caught():
        plan, record = _submit(plan, workspace, environ)
    if interrupts is None:
        held.deliver()
    return plan, record


def _submit(plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> tuple[Plan, jobs.Record]:
    executor = executors.get(plan.executor)
    plan = _reserve(plan, workspace.records, environ)
    record = replace(_record(plan), handle=executor.address(plan, environ), launcher=jobs.launcher())
    jobs.save(workspace.records, record)  # before anything is started: whoever dies from here on loses nothing
    try:
        _write(plan, workspace, environ)
        handle = executor.submit(plan, workspace, environ)
    except (LaunchError, OSError) as error:
        # SubmissionUnknown: it may have been taken. Else nothing has started, unless an agent has reported.
        if not isinstance(error, SubmissionUnknown) and not plan.place.names(f"{plan.job_dir}/{contract.NODES}"):
            plan.place.remove(plan.job_dir)
            jobs.forget(workspace.records, record)
        raise
    record = replace(record, handle=handle, launcher=None)
    jobs.save(workspace.records, record)
    return plan, record


def _reserve(plan: Plan, records: Path, environ: Mapping[str, str]) -> Plan:
    """mkdir is atomic, also on shared file systems: who makes the directory has the id."""
    for _ in range(RESERVATIONS):
        if plan.place.make(plan.job_dir, new=True):
            return plan
        taken = naming.next_job_id(plan.run_name, plan.place.names(plan.job_root), records)
        plan = planning.with_job_id(plan, taken, environ)
    raise ClusterError(f"{plan.job_root}: no free id for run {plan.run_name} after {RESERVATIONS} tries.")


def _write(plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> None:
    place = plan.place
    data = {key: plan.data.get(key) for key in ("digest", "rows")}
    rundir.begin(plan.run_dir, plan.trained, place, plan.world_size, {**data, "job_id": plan.job_id})
    place.make(f"{plan.job_dir}/{contract.LOGS}")
    submitted = {"time": time.time(), "state": contract.EVENT_SUBMITTED, "pid": os.getpid()}
    texts = {
        **plan.texts,
        **gitstate.record(workspace.root, (file.source for file in plan.files), workspace.env_file),
        contract.SCRIPT: plan.script,
        contract.PLAN: json.dumps(plan.document(), indent=1, ensure_ascii=False) + "\n",
        contract.EVENTS: json.dumps(submitted) + "\n",
    }
    with packaging.on_disk(plan.files) as sources:
        place.put(plan.job_dir, sources, texts)
    packaging.verify(plan.files)  # afterwards: what is the same then has not changed while it was copied
    if plan.agent["secrets_file"]:  # last: nothing that fails before it leaves secrets behind
        values = secrets.file_content(plan.profile.secrets, environ)
        secrets.write(place, plan.agent["secrets_file"], values)


def _record(plan: Plan) -> jobs.Record:
    return jobs.Record(
        job_id=plan.job_id,
        run_name=plan.run_name,
        recipe=plan.recipe.name,
        config=plan.config_name,
        profile=plan.profile_name,
        executor=plan.executor,
        mode=plan.mode,
        job_dir=plan.job_dir,
        run_dir=plan.run_dir,
        plan_hash=plan.plan_hash,
        submitted=time.time(),
        max_steps=backends.of(plan.recipe).max_steps(plan.config),
    )
