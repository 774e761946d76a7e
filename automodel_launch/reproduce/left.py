"""What a job has left in its directory and its run's: the plan, its files, the data, and what it ran with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.config.dotted import flatten
from automodel_launch.errors import JobError
from automodel_launch.jobs import rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record
from automodel_launch.remote import filesystem
from automodel_launch.remote.filesystem import FileSystem

Json = dict[str, Any]
LARGEST = 64 << 20  # bytes of a file that is read here: a plan with a long config; above that it is no plan


@dataclass(frozen=True)
class Left:
    """A job's directory, wherever it lies; `plan` is its plan.json."""

    record: Record
    place: FileSystem
    plan: Json

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.record.job_id

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of each file that travelled, by its path in the job's directory."""
        found = self.plan.get("files")
        rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
        return {str(row.get("path")): str(row.get("sha256")) for row in rows}

    @property
    def code(self) -> dict[str, str]:
        """Those of the recipe and of the user, by their path below code/."""
        head = f"{contract.CODE}/"
        return {path.removeprefix(head): digest for path, digest in self.files.items() if path.startswith(head)}

    @property
    def script(self) -> str:
        """The script that was submitted."""
        return str(self.plan.get("script") or "")

    @cached_property
    def environment(self) -> Json | None:
        """environment.json; None where the job has none: an older one, or one that never came to its ranks."""
        return parse(self.read(contract.ENVIRONMENT) or b"")

    @cached_property
    def data(self) -> Json:
        """Digest and rows of the data that it trained on, empty where these are not known."""
        named = self.plan.get("data")
        digest = named.get("identity") if isinstance(named, Mapping) else None
        kept = rundir.data(self.record.run_dir, self.place)
        if digest is None:
            return kept if kept.get("job_id") == self.job_id and kept.get("digest") else {}
        return kept if kept.get("digest") == digest else {"digest": digest}

    @cached_property
    def commit(self) -> str | None:
        """The commit behind the code."""
        found = self.read(contract.GIT_COMMIT)
        return found.decode(errors="replace").strip() or None if found else None

    def values(self, section: str) -> Json:
        """A section of the plan as one value a dotted key, without the names of this job and its run."""
        found = self.plan.get(section)
        return {key: self.anonymous(value) for key, value in flatten(found)} if isinstance(found, Mapping) else {}

    def anonymous(self, value: Any) -> Any:
        """A value without what each job has of its own: its id, its run's name, and their directories."""
        if isinstance(value, list):
            return [self.anonymous(entry) for entry in value]
        if not isinstance(value, str):
            return value
        record = self.record
        for own, word in (
            (record.job_dir, "JOB_DIR"),
            (record.run_dir, "RUN_DIR"),
            (record.job_id, "JOB"),
            (record.run_name, "RUN"),
        ):
            value = re.sub(rf"(?<!\w){re.escape(own)}(?!\w)", word, value) if own else value
        return value

    def read(self, name: str) -> bytes | None:
        """A file of the job's directory, None where it is not there or larger than any that we write."""
        return filesystem.whole(self.place, f"{self.record.job_dir}/{name}", LARGEST)


def of(record: Record) -> Left:
    """What a job has left.

    Raises:
        JobError: its directory, or the plan in it, is gone or cannot be read.
        ClusterError: its place cannot be reached.
    """
    place = executors.get(record.executor).place_of(record)
    left = Left(record, place, {})
    content = left.read(contract.PLAN)
    plan = parse(content) if content is not None else None
    if plan is None:
        there = bool(place.names(record.job_dir))
        what = f"{contract.PLAN} in {record.job_dir} cannot be read" if there else f"{record.job_dir} is gone"
        raise JobError(f"{record.job_id}: {what}, and with it what it ran.")
    return Left(record, place, plan)
