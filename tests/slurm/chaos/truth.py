"""Which states of a job are true, by Slurm and by what the job has written; the launcher's code is not used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.slurm.chaos.place import Place, read_json

_FIELD = re.compile(r"(?:^|\s)([A-Za-z/:]+)=(\S*)")
RUNS = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING"}
WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
LIVE = RUNS | WAITS | {"SUSPENDED"}
ENDS = {"BOOT_FAIL": "NODE_FAIL", "DEADLINE": "TIMEOUT"}


@dataclass(frozen=True)
class SlurmJob:
    """A job as slurmctld has it; the launcher's have their directory as working directory."""

    id: int
    state: str
    reason: str
    directory: str
    name: str

    @property
    def lives(self) -> bool:
        """It waits or runs."""
        return self.state in LIVE


def slurm_jobs(place: Place) -> list[SlurmJob] | None:
    """Every job of the cluster, oldest first; None while slurmctld is away."""
    done = place.cluster.run("scontrol", "-o", "show", "jobs")
    if done.returncode:
        return None
    found = []
    for line in done.stdout.splitlines():
        values = dict(reversed(_FIELD.findall(line)))  # a key's first value
        if "JobId" in values:
            words = (values.get(key, "") for key in ("JobState", "Reason", "WorkDir", "JobName"))
            found.append(SlurmJob(int(values["JobId"]), *words))
    return sorted(found, key=lambda job: job.id)


@dataclass(frozen=True)
class View:
    """What is known of one job at one moment. `resumed` is when a person last resumed it, in unix seconds."""

    slurm: list[SlurmJob] | None
    exit: dict[str, Any] | None = None
    finished: bool = False
    blind: bool = False
    resumed: float = 0.0
    launching: bool = False

    @property
    def final(self) -> str | None:
        """The state in which the job has ended for good, by its own record."""
        own = self.exit or {}
        is_end = own.get("complete") is True and own.get("goes_on") is False
        return str(own["state"]) if is_end and (own.get("ended") or 0) > self.resumed else None

    @property
    def allowed(self) -> set[str]:
        """Every state that is not false."""
        if self.slurm is None or self.blind:
            return {"UNKNOWN", "SUBMITTING", *(self._by_slurm() | {self.final} if self.final else self._unseen())}
        return self._by_slurm() | ({self.final} if self.final else set())

    def _unseen(self) -> set[str]:
        return self._by_slurm() | {"RUNNING", "PENDING"}

    def _by_slurm(self) -> set[str]:
        jobs = self.slurm or []
        states = {job.state for job in jobs if job.lives}
        if "SUSPENDED" in states:
            return {"SUSPENDED"}
        if states & RUNS:
            return {"RUNNING"}
        if states:
            return set() if self.final else {"PENDING"}
        if not jobs:
            if self.slurm is None:
                return self._own()
            return {"SUBMITTING"} if self.launching else {"SUBMITTING", "NOT_SUBMITTED"}
        return self._ended(jobs[-1].state) | self._own()

    def _own(self) -> set[str]:
        return {str(self.exit["state"])} if self.exit and isinstance(self.exit.get("state"), str) else set()

    def _ended(self, last: str) -> set[str]:
        """By Slurm's word for the last attempt; what a job without a record has done in the end is not known."""
        if last == "COMPLETED":
            return {"UNKNOWN", "FAILED"} if self.exit is None else set()
        return {ENDS.get(last, last)} | ({"UNKNOWN"} if self.exit is None else set())


@dataclass
class Snapshot:
    """All jobs at one moment."""

    slurm: list[SlurmJob] | None
    exits: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)  # runs' directories
    blind: bool = False

    def view(self, job_dir: str, run_dir: str, resumed: float, launching: bool) -> View:
        """Of one job."""
        ours = None if self.slurm is None else [job for job in self.slurm if job.directory == job_dir]
        return View(ours, self.exits.get(job_dir), run_dir in self.finished, self.blind, resumed, launching)


def snapshot(place: Place) -> Snapshot:
    """Ask Slurm, and read what the jobs of this fault have written."""
    exits, finished = {}, set()
    if place.jobs.is_dir():
        for folder in place.jobs.iterdir():
            exits[str(folder)] = read_json(folder / "exit.json")
            if (folder / "finished.json").exists():
                finished.add(str(folder))
    return Snapshot(slurm_jobs(place), exits, finished, place.is_blind)


def strangers(place: Place, known: set[str], jobs: list[SlurmJob]) -> list[SlurmJob]:
    """Live Slurm jobs below the job root that belong to none of the known job directories."""
    return [
        job for job in jobs if job.lives and Path(job.directory).parent == place.jobs and job.directory not in known
    ]
