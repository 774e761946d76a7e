"""The launcher from Python: `plan`, `check`, `submit` -> Job. The command line is thin over the same functions.

    import automodel_launch as al

    plan = al.plan("pretrain", config="tiny", profile="dgx", overrides={"optimizer.lr": 3e-4})
    for finding in al.check(plan):
        print(finding.level, finding.message)
    job = al.submit(plan)
    print(job.wait().state, job.metrics()[-1])

Every function takes its environment as an argument (default: this process's) and works off the main thread. Errors
are those of automodel_launch.errors; nothing is printed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from automodel_launch import executors
from automodel_launch import workspace as workspaces
from automodel_launch.config import configs
from automodel_launch.config.overrides import Override, parse
from automodel_launch.errors import JobError, PlanRefused, UsageError
from automodel_launch.jobs import pipelines, records
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import (
    cancelling,
    checking,
    edges,
    follow,
    notes,
    origin,
    planning,
    tails,
    unknown_keys,
    waiting,
)
from automodel_launch.launch import submit as submitting
from automodel_launch.launch.pace import Pace
from automodel_launch.plan import recipes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace

Rehearse = bool | Literal["memory"] | None
Overrides = Mapping[str, Any] | list[str] | tuple[str, ...]


def plan(
    recipe: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    profile: str = "local",
    overrides: Overrides = (),
    *,
    mode: Literal["run", "batch"] = "batch",
    name: str | None = None,
    fresh: bool = False,
    offline: bool = False,
    after: str | None = None,
    begin_from: str | None = None,
    env_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Everything that would happen, as one value; nothing is written or submitted.

    Args:
        recipe: a recipe's name, or the path of a script.
        config: a name in configs/RECIPE/, or a path (default: the recipe's own).
        profile: the executor profile of env.toml.
        overrides: {"optimizer.lr": 3e-4, "+new.key": 1, "~old": None}, or ["optimizer.lr=3e-4", "+new.key=1", "~old"]
            as on the command line.
        mode: "batch", a job that outlives this process, or "run", one that ends with it where it runs on this machine.
        offline: ask no cluster anything.
        after: the job whose run has to have completed before this one begins; several with commas.
        begin_from: "RUN" or "RUN:STEP": begin with the weights of that run's checkpoint, as `--from` does.
        env_file: another env.toml (default: LAUNCH_ENV, else the workspace's).

    Raises:
        LaunchError: the parts do not fit together.
    """
    environ = os.environ if environ is None else environ
    recipe, config = _word("recipe", recipe), None if config is None else _word("config", config)
    _word("profile", profile)
    if name is not None:
        _word("name", name)
    if mode not in ("run", "batch"):
        raise UsageError(f'mode={mode!r}: expected "run" or "batch".')
    here = workspaces.find(env_file, environ)
    env = profiles.load(here.env_file, profile)
    found = recipes.find(here, recipe)
    changes = parsed(overrides)
    source = None if begin_from is None else origin.find(here, _word("begin_from", begin_from), offline=offline)
    if source is not None:
        changes = [*source.overrides(found, configs.load(found, config, ())), *changes]
    merged = unknown_keys.load(found, config, changes)
    options: dict[str, Any] = {"mode": mode, "name": name, "fresh": fresh, "offline": offline, "environ": environ}
    waits = edges.named(here, after, offline)
    options |= {"after": waits.runs, "promised": waits.promised, "begins_from": source}
    made = planning.make(here, env, profile, found, merged, **options)
    if after is not None:
        edges.refuse_unheld(made)
    return made


def check(plan: Plan, *, offline: bool = False, rehearse: Rehearse = False) -> list[Finding]:
    """What is wrong with a plan, errors first; unless `offline`, the place where the job will run is asked too.

    `rehearse`: try the framework's own set-up and one step as well, which takes seconds; "memory" measures what the
    step takes. None does so where a submission would.

    Raises:
        UsageError: it is not a plan.
    """
    if not isinstance(plan, Plan):
        raise UsageError(f"{type(plan).__name__} is not a plan.", "plan(...) makes one")
    found = checking.run(plan, offline=offline)
    option: Any = {True: "on", False: "off"}.get(rehearse, rehearse)  # type: ignore[arg-type]  # None, or "memory"
    folder = workspaces.find().rehearsals
    tried = checking.rehearse(plan, found, folder, option, submits=rehearse is None, offline=offline)
    return checking.in_order([*found, *tried.findings])


def submit(
    plan: Plan,
    *,
    force: bool = False,
    offline: bool = False,
    rehearse: Rehearse = None,
    env_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Job:
    """Check a plan and submit it; it is rehearsed before where its profile says so, or `rehearse` does.

    Raises:
        PlanRefused: a check found an error, and `force` is not given; nothing was submitted.
        ClusterError: the place could not be reached, or refused the job.
    """
    environ = os.environ if environ is None else environ
    if not isinstance(plan, Plan):
        raise UsageError(f"{type(plan).__name__} is not a plan.", "plan(...) makes one")
    found = [] if force else check(plan, offline=offline, rehearse=rehearse)
    errors = [finding for finding in found if finding.level == "error"]
    if errors:
        told = "; ".join(f"[{finding.code}] {finding.message}" for finding in errors)
        raise PlanRefused(f"{plan.run_name} was not submitted: {told}", errors[0].fix)
    here = workspaces.find(env_file, environ)
    _, record = submitting.submit(notes.noted(plan, found), here, environ)
    return Job(record, here)


def job(wanted: str = "last", *, env_file: str | None = None, environ: Mapping[str, str] | None = None) -> Job:
    """A job that was submitted from here: its id or the unique beginning of it, a run's name, a Slurm id, or "last".

    Raises:
        JobError: there is none, or several.
    """
    here = workspaces.find(env_file, environ)
    return Job(pipelines.job(here.records, wanted), here)


def jobs(*, env_file: str | None = None, environ: Mapping[str, str] | None = None) -> list[Job]:
    """Every job that was submitted from here, oldest first."""
    here = workspaces.find(env_file, environ)
    return [Job(record, here) for record in records.all_records(here.records)]


@dataclass
class Job:
    """A job that was submitted. Every call asks for its state again."""

    record: Record = field(repr=False)
    workspace: Workspace = field(repr=False)

    def __repr__(self) -> str:
        return f"Job({self.id})"

    def __hash__(self) -> int:
        return hash((self.id, self.record.job_dir))

    @property
    def id(self) -> str:
        """The job's id."""
        return self.record.job_id

    @property
    def directory(self) -> JobDir:
        """Readers of the job's directory, wherever that lies."""
        return JobDir(self.record.job_dir, executors.get(self.record.executor).place_of(self.record))

    def status(self) -> Status:
        """The job's state now; UNKNOWN where it cannot be told, never a guess."""
        self.record, now = waiting.look_at(self.workspace.records, self.record)
        return now

    def wait(self, timeout: float | None = None) -> Status:
        """Wait until the job has ended.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds; it goes on.
            JobError: nobody knows the job any longer, and it has left no record of its end.
        """
        end = None if timeout is None else time.monotonic() + timeout
        lost: float | None = None
        pace = Pace(executors.get(self.record.executor).poll_s)
        while not (now := self.status()).over:
            pace.note(now)
            lost = (lost or time.monotonic()) if now.forgotten else None
            if lost is not None and time.monotonic() - lost > follow.FORGOTTEN_S:
                raise JobError(f"{self.id}: {now.error}.")
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"{self.id} has not ended within {timeout:g} s: {now.state}")
            time.sleep(pace.left_s if end is None else max(0.0, min(pace.left_s, end - time.monotonic())))
        return now

    def attach(self, out: IO[str] | None = None, err: IO[str] | None = None) -> int:
        """Follow the job to its end, rank 0's log to `out`; the exit code of the command `attach`."""
        self.status()  # completes the record of a job whose launcher ended while it submitted it
        follower = follow.Follower(self.record, ranks=[0], out=out or sys.stdout, err=err or sys.stderr)
        end, code = follower.run()
        records.remember(self.workspace.records, self.record, end)
        return code

    def cancel(self, *, now: bool = False) -> None:
        """Ask the job to end, with time to save a checkpoint, or at once. `wait` tells when it has.

        Raises:
            JobError: it does not run, or nobody knows it.
            ClusterError: its place does not answer.
        """
        cancelling.ask(self.record, self.status(), now)

    def logs(self, rank: int = 0) -> Iterator[str]:
        """The lines that a global rank has logged until now.

        Raises:
            JobError: the job has no such rank; none has logged anything before the training begins.
        """
        job = self.directory
        present = job.ranks()
        if present and rank not in present:
            raise JobError(f"{self.id} has no rank {rank!r}; ranks: 0 to {present[-1]}.")
        return tails.Tail(job.log(rank), place=job.place).lines(last=True)

    def metrics(self) -> list[dict[str, Any]]:
        """Every training step and validation that the job has logged, oldest first."""
        return list(self.directory.metrics())


def _word(what: str, value: object) -> str:
    """A string, or a path as one.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise UsageError(f"{what}={value!r} is {type(value).__name__}; expected a string or a path.")


def parsed(overrides: Overrides) -> list[Override]:
    """As they are given, in the form that `configs` takes.

    Raises:
        UsageError: one is no override.
    """
    if isinstance(overrides, str):
        raise UsageError(f"overrides={overrides!r} is one string.", f"overrides=[{overrides!r}]")
    if isinstance(overrides, Mapping):
        return [_override(key, value) for key, value in overrides.items()]
    return [parse(_word("an override", text)) for text in overrides]


def _override(key: object, value: Any) -> Override:
    name = _word("an override's key", key)
    action = {"+": "add", "~": "remove"}.get(name[:1], "set")
    bare = name.removeprefix("+").removeprefix("~")
    parse(f"~{bare}")  # refuses what is not a key
    value = [*value] if isinstance(value, tuple) else value
    text = name if action == "remove" else f"{name}={value}"
    return Override(action, bare, value, text)  # type: ignore[arg-type]  # one of the three
