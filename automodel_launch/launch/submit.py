"""Plan -> the job's directory -> the executor -> Job. What is written and started is the plan's text, to the byte."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract, executors
from automodel_launch.errors import ClusterError, LaunchError, RecordError, SubmissionUnknown
from automodel_launch.frozen import thaw
from automodel_launch.jobs import launcher, rundir
from automodel_launch.jobs import records as jobs
from automodel_launch.launch import claim, origin, planning, state, successors, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.notes import noted
from automodel_launch.plan import bytecode, gitstate, naming, packaging, secrets
from automodel_launch.plan.plan import Plan
from automodel_launch.workspace import Workspace

RESERVATIONS = 1000


def submit(
    plan: Plan,
    workspace: Workspace,
    environ: Mapping[str, str] | None = None,
    interrupts: Interrupts | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Plan, jobs.Record]:
    """Reserve the job's id, claim its run, write its directory and start it.

    Another launcher may have taken the id since the plan was made; the plan for the next one has the same hash.
    Signals are held meanwhile: collected in `interrupts` where those are given, else delivered when the job's record
    is written. `environ` has the values of secrets (default: this process's environment). `say` takes what went wrong
    and did not keep the job from being submitted.

    Raises:
        PlanRefused: another job of the run is in the queue, or runs, or NeMo-Run cannot be imported; nothing is left.
        RecordError: the job's record cannot be written; nothing was submitted, and nothing is left behind.
        ClusterError: the directory cannot be written or the executor refused; nothing is left behind.
    """
    environ = os.environ if environ is None else environ
    executors.get(plan.executor).ready()
    held = interrupts or Interrupts()
    with held.caught():
        plan, record = _submit(plan, workspace, environ, say)
    if interrupts is None:
        held.deliver()
    return plan, record


def _submit(
    plan: Plan, workspace: Workspace, environ: Mapping[str, str], say: Callable[[str], None]
) -> tuple[Plan, jobs.Record]:
    plan, record = reserve(plan, workspace.records, environ)
    try:
        claim.refuse_remembered(record, jobs.all_records(workspace.records), plan.place)
        with claim.held(record, plan.place) as submitted:
            handle = _start(plan, workspace, environ)
            submitted(handle)
    except SubmissionUnknown:
        give_up(workspace.records, record)
        raise
    except (LaunchError, OSError):
        plan.place.remove(plan.job_dir)
        successors.forget(record, plan.place)
        jobs.forget(workspace.records, record)
        raise
    started = state.started(record, handle)
    save_started(workspace.records, started, say)
    waiting.settle(started, say)  # a run may have ended before it was known there that this job waits for it
    return plan, started


def _start(plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
    """Write the job's directory and submit it; its handle. An error means that nothing was started.

    Raises:
        SubmissionUnknown: something may have been.
    """
    try:
        _write(plan, workspace, environ)
        return executors.get(plan.executor).submit(plan, workspace, environ)
    except SubmissionUnknown:
        raise
    except (LaunchError, OSError) as error:
        if plan.place.names(f"{plan.job_dir}/{contract.NODES}"):  # an agent has reported
            fix = f"python launch.py status {plan.job_id} tells what became of it"
            raise SubmissionUnknown(getattr(error, "message", str(error)), fix) from error
        raise


def reserve(
    plan: Plan, records: Path, environ: Mapping[str, str], more: Mapping[str, Any] | None = None
) -> tuple[Plan, jobs.Record]:
    """The plan with an id that is its own, and the record that says so; `more` goes into the job's handle.

    mkdir is atomic, also on shared file systems: who makes the directory has the id there.

    And here it has who writes the record: one name may be launched in two job roots at once. That is before anything is
    started, too: who dies from here on loses nothing.
    """
    for _ in range(RESERVATIONS):
        if plan.place.make(plan.job_dir, new=True):
            record = record_of(plan, environ)
            record = replace(record, handle={**record.handle, **(more or {})})
            try:
                if jobs.add(records, record):
                    return plan, record
            except RecordError:
                plan.place.remove(plan.job_dir)
                raise
            plan.place.remove(plan.job_dir)
        taken = naming.next_job_id(plan.run_name, plan.place.names(plan.job_root), records)
        plan = planning.with_job_id(plan, taken, environ)
    raise ClusterError(f"{plan.job_root}: no free id for run {plan.run_name} after {RESERVATIONS} tries.")


def _write(plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> None:
    place = plan.place
    # under the claim: no other job is submitted now
    begin_run(plan)
    place.make(f"{plan.job_dir}/{contract.LOGS}")
    waiting.register(plan.after, record_of(plan, environ), place)
    git = gitstate.record(workspace.root, (file.source for file in plan.files), workspace.env_file)
    if any(file.path == contract.GIT_COMMIT for file in plan.files):  # of a former job, whose code travels once more
        git = {}
    texts = {**texts_of(plan), **git}
    with packaging.on_disk(plan.files) as sources:
        place.put(plan.job_dir, {**sources, **_byte_code(plan)}, texts)
    packaging.verify(plan.files)  # afterwards: what is the same then has not changed while it was copied
    origin.tell_its_run(plan)
    write_secrets(plan, environ)  # last: nothing that fails before it leaves secrets behind


def _byte_code(plan: Plan) -> dict[str, Path]:
    """Where the job's agent is started by this Python: on this machine, and in no image."""
    return bytecode.beside(plan.files) if plan.here and not plan.image else {}


def begin_run(plan: Plan) -> None:
    """Write down what the run's first job trains, where none has done so; under the claim."""
    data = {key: plan.data.get(key) for key in ("digest", "rows")}
    rundir.begin(plan.run_dir, plan.trained, plan.place, plan.world_size, {**data, "job_id": plan.job_id})


def write_secrets(plan: Plan, environ: Mapping[str, str]) -> None:
    """Put the values of the job's secrets where its agents read them."""
    if plan.agent["secrets_file"]:
        values = secrets.file_content(plan.profile.secrets, environ)
        secrets.write(plan.place, plan.agent["secrets_file"], values)


def save_started(folder: Path, started: jobs.Record, say: Callable[[str], None]) -> None:
    """Keep the record of a job that was submitted; without it, what was written before finds the job again."""
    try:
        jobs.save(folder, started)
    except RecordError as error:
        say(f"warning: {started.job_id} was submitted, and will be looked up: {error.message}")


def give_up(folder: Path, record: jobs.Record) -> None:
    """This launcher is no longer at a job that may have been submitted, or not."""
    with suppress(RecordError):
        jobs.change(folder, record, lambda now: replace(now, launcher=launcher.gone(now.launcher)))


def texts_of(plan: Plan) -> dict[str, str]:
    """What the launcher writes into the job's directory, by name, beside the code and how that differs from git's."""
    submitted = {"time": time.time(), "state": contract.EVENT_SUBMITTED, "pid": os.getpid()}
    known = plan.notes or noted(plan).notes
    return {
        **plan.texts,
        contract.SCRIPT: plan.script,
        contract.PLAN: json.dumps(plan.document(), indent=1, ensure_ascii=False) + "\n",
        contract.EVENTS: json.dumps(submitted) + "\n",
        contract.NOTES: json.dumps(known) + "\n",
    }


def record_of(plan: Plan, environ: Mapping[str, str]) -> jobs.Record:
    """The record of a job that this process is about to submit."""
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
        handle=executors.get(plan.executor).address(plan, environ),
        launcher=launcher.this(),
        max_steps=backends.of(plan.recipe).max_steps(plan.config),
        after=[thaw(run) for run in plan.after],
        typed=list(plan.typed),
    )
