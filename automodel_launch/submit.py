"""Plan -> the job's directory -> the executor -> Job. What is written and started is the plan's text, to the byte."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from automodel_launch import automodel, executors, jobs, naming, packaging, rundir
from automodel_launch import plan as planning
from automodel_launch.errors import ClusterError
from automodel_launch.plan import Plan
from automodel_launch.workspace import Workspace

RESERVATIONS = 1000


def submit(plan: Plan, workspace: Workspace) -> tuple[Plan, jobs.Record]:
    """Reserve the job's id, write its directory and start it.

    Another launcher may have taken the id since the plan was made; the plan for the next one has the same hash.

    Raises:
        ClusterError: the directory cannot be written or the executor refused; nothing is left behind.
    """
    plan = _reserve(plan, workspace.records)
    job_dir = Path(plan.job_dir)
    try:
        _write(plan, job_dir)
        record = _record(plan)
        record = replace(record, handle=executors.get(plan.executor).submit(plan, workspace))
    except BaseException as error:
        if not (job_dir / "nodes").exists():  # nothing has started there
            shutil.rmtree(job_dir, ignore_errors=True)
        if isinstance(error, OSError):
            raise ClusterError(
                f"{job_dir}: cannot be written: {error.strerror}.", "see `df -h` and `ls -ld`"
            ) from error
        raise
    jobs.save(workspace.records, record)
    return plan, record


def _reserve(plan: Plan, records: Path) -> Plan:
    """mkdir is atomic, also on shared file systems: who makes the directory has the id."""
    try:
        Path(plan.job_root).mkdir(parents=True, exist_ok=True)
        for _ in range(RESERVATIONS):
            try:
                Path(plan.job_dir).mkdir()
                return plan
            except FileExistsError:
                plan = planning.with_job_id(plan, naming.next_job_id(plan.run_name, plan.job_root, records))
    except OSError as error:
        raise ClusterError(f"{plan.job_root}: jobs cannot be written there: {error.strerror}.") from error
    raise ClusterError(f"{plan.job_root}: no free id for run {plan.run_name} after {RESERVATIONS} tries.")


def _write(plan: Plan, job_dir: Path) -> None:
    (job_dir / "logs").mkdir()
    rundir.begin(Path(plan.run_dir), plan.trained)
    packaging.copy(plan.files, job_dir)
    for name, text in {**plan.texts, "script": plan.script}.items():
        (job_dir / name).write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    document = json.dumps(plan.document(), indent=1, ensure_ascii=False)
    (job_dir / "plan.json").write_text(document + "\n", encoding="utf-8", errors="surrogateescape")
    with (job_dir / "events.jsonl").open("a") as events:
        events.write(json.dumps({"time": time.time(), "state": "submitted", "pid": os.getpid()}) + "\n")


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
        max_steps=automodel.max_steps(plan.config),
    )
