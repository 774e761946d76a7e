"""`--after JOB`: from jobs that were named to what a plan holds of them, and to waiting for them here.

Where the place of the plan can hold a job until others have ended (executors.holding), it is submitted at once; else an
attached launch waits here and plans anew, with what is there by then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch import backends, executors
from automodel_launch.errors import JobError, LaunchError, PlanRefused, RecipeError, UsageError
from automodel_launch.jobs import launcher, pipelines, records, sweeps
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import state, waiting
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.waiting import Run
from automodel_launch.plan import recipes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.remote.shell import AT_ONCE
from automodel_launch.workspace import Workspace

POLL_S = 2.0
Promise = tuple[str, str, bool]


@dataclass(frozen=True)
class After:
    """`runs` that are to be waited for, and what each of those that were named makes (Plan.promised)."""

    runs: tuple[dict[str, Any], ...] = ()
    promised: tuple[Promise, ...] = ()


def named(here: Workspace, text: str | None, offline: bool = False) -> After:
    """The jobs of `--after A,B`; those whose runs have completed are not waited for.

    Raises:
        UsageError: a name is missing, or the cluster of one may not be asked.
        JobError: there is no such job, or it is being submitted.
        ClusterError: the place of one does not answer.
    """
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"--after {text}: expected the id of a job, or several with commas.", "python launch.py jobs")
    named = {record.job_id: record for word in words for record in _records(here.records, word)}
    for record in named.values():
        if offline and executors.get(record.executor).place_of(record) != LOCAL:
            message = f"--after {text}: the cluster has to be asked how {record.job_id} stands; --offline asks nothing."
            raise UsageError(message, "leave out one of them")

    def look(record: Record) -> tuple[dict[str, Any], bool, list[Promise]]:
        run = waiting.run_of(record)
        done = waiting.look(run).completed
        return run, done, list(makes(here, record, done))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(look, named.values()))
    runs = tuple(run for run, done, _ in looked if not done)
    return After(runs, tuple(promise for *_, made in looked for promise in made))


def _records(folder: Path, word: str) -> list[Record]:
    """The job that a word names; of a sweep the last one of every point, of a pipeline those of its last steps.

    Raises:
        JobError: there is none, or not of every point or step; or one is being submitted.
    """
    sweep, pipeline = sweeps.exact(folder, word), pipelines.find(folder, word)
    if pipeline is not None:
        again, none = pipeline.again, [""]  # of a sweep whose submission has not begun
        steps = {step.name: pipelines.runs_of(folder, step) or none for step in pipeline.last}
        runs = {run: f"step {step} of pipeline {word}" for step, of_step in steps.items() for run in of_step}
    elif sweep is not None:
        again = "the sweep's own command again submits what is missing"
        runs = {run: f"point {word}.{number}" for run, number in sweep.numbers.items()}
    else:
        return [_complete(folder, pipelines.job(folder, word))]
    last = {record.run_name: record for record in records.all_records(folder)}
    missing = next((what for run, what in runs.items() if run not in last), None)
    if missing:
        raise JobError(f"--after {word}: no job of {missing} was submitted.", again)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda run: _complete(folder, last[run]), runs))


def _complete(folder: Path, record: Record) -> Record:
    record = state.complete(folder, record)
    if launcher.is_at_it(record):
        raise JobError(f"{record.job_id} is being submitted now.", f"python launch.py status {record.job_id}")
    return record


def makes(here: Workspace, record: Record, done: bool) -> Iterator[Promise]:
    """The directories that a job writes, as far as its backend tells: a later job's inputs may lie there."""
    who = record.job_id
    yield record.run_dir, who, done
    place = executors.get(record.executor).place_of(record)
    config = JobDir(record.job_dir, place).plan().get("config")
    try:
        backend = backends.of(recipes.find(here, record.recipe))
    except RecipeError:  # a script that was launched by its path
        return
    for reference in backend.references(config) if isinstance(config, dict) else ():
        if reference.kind == "output":
            yield str(reference.value), who, done


def holds(plan: Plan) -> bool:
    """Whether the place of a plan with `after` can hold its job until those that it waits for have ended."""
    kept = [records.from_json(run["record"]) for run in plan.after]
    return all(record is not None and can_follow(plan, record, os.environ) for record in kept)


def can_follow(plan: Plan, record: Record, environ: Mapping[str, str]) -> bool:
    """Whether the place of the plan can hold its job until the run of that record's job has ended."""
    holding = executors.holding(plan.executor)
    if holding is None or record.executor != plan.executor:
        return False
    return holding.can_follow(executors.get(plan.executor).address(plan, environ), record)


def refuse_unheld(plan: Plan) -> None:
    """A plan that nobody would wait with until it can be submitted.

    Raises:
        UsageError: its place cannot keep its job waiting.
    """
    if plan.after and not holds(plan):
        raise UsageError(
            f"profile {plan.profile_name} (executor '{plan.executor}') cannot keep a job waiting.",
            "wait() for that job, then plan this one",
        )


def refuse_detached(plan: Plan) -> None:
    """A launch that ends before the job begins, where nobody would be left to start it.

    Raises:
        UsageError: it is one.
    """
    if plan.after and plan.mode == "batch" and not holds(plan):
        names = waiting.some([str(run["run_name"]) for run in plan.after])
        raise UsageError(
            f"--after: profile {plan.profile_name} (executor '{plan.executor}') cannot keep a job waiting for {names}.",
            f"--run {plan.profile_name} waits here and starts it then; --batch does so on the Slurm of that job",
        )


def findings(plan: Plan) -> Iterator[Finding]:
    """How the runs stand that the plan waits for."""
    told: list[str] = []
    for run in plan.after:
        try:
            now = waiting.look(run)
        except LaunchError as error:
            text = f"how run {run['run_name']} stands, which it waits for, cannot be told: {error.message}"
            yield Finding("warning", "waits-for", text, error.hint)
            continue
        if now.failed:
            yield Finding("error", "after-failed", *_failure(run, now))
        elif not now.completed:
            told.append(now.words)
    if told:
        yield Finding("note", "waits-for", f"it waits for {waiting.some(told)}.")
    for who in dict.fromkeys(who for _, who, done in plan.promised if not done):
        yield Finding("note", "made-before", f"the outputs of {who} are not checked before they are there.")


def _failure(run: Run, now: waiting.Standing) -> tuple[str, str]:
    said = f": {now.status.error}" if now.status.error else ""
    message = f"run {run['run_name']}, which it was to follow, has not completed: {now.words}{said}."
    return message, f"python launch.py resume {now.record.job_id}, or launch that again; then launch this"


def wait(
    runs: Sequence[Run],
    say: Callable[[str], None],
    interrupts: Interrupts,
    sleep: Callable[[float], None] = time.sleep,
) -> int | None:
    """Wait here until the runs have completed; the exit code where a signal came, and nothing is to be started.

    Raises:
        PlanRefused: one has ended in another way.
    """
    told = ""
    with interrupts.caught():
        while not interrupts.received:
            stand = [(run, waiting.look(run)) for run in runs]
            failed = next(((run, now) for run, now in stand if now.failed), None)
            if failed:
                raise PlanRefused(f"nothing was submitted: {_failure(*failed)[0]}", _failure(*failed)[1])
            left = [now for _, now in stand if not now.completed]
            if not left:
                return None
            news = ", ".join(f"{now.record.job_id} {now.status.state} {now.paused}" for now in left)
            if news != told:
                say(f"waiting for {waiting.some([now.words for now in left])}; Ctrl-C ends the waiting alone")
            told = news
            sleep(POLL_S)
    return interrupts.code
