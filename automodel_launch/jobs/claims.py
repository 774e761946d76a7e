"""Which job of a run is in the queue: RUN_DIR/claims/, which every launcher of the run sees, from whatever host.

    claims/3        the third claim of the run: the record of the job that is being submitted, when it was made
    claims/3.job    its handle: the job has been submitted
    claims/3.free   it was not submitted after all

Who wants the run and sees that the job of claim N has ended makes claim N + 1, which only one can. A number is never
made twice while anybody may still think of it: older claims are removed by who holds a newer one, and who made a claim
looks for newer ones before it counts. So nobody has to give a claim back; it ends with its job.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import asdict, dataclass
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import records
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import FileSystem

_FREE, _JOB = ".free", ".job"


@dataclass(frozen=True)
class Claim:
    """One claim. `record` is None where this version cannot read it; `handle` is that of a job that was submitted."""

    path: str
    number: int
    record: Record | None
    free: bool = False
    handle: dict[str, Any] | None = None


def newest(run_dir: str, place: FileSystem) -> Claim | None:
    """The claim that counts, None where nobody has ever made one."""
    names = place.names(f"{run_dir}/{contract.CLAIMS}")
    number = max(_numbers(names), default=None)
    if number is None:
        return None
    path = f"{run_dir}/{contract.CLAIMS}/{number}"
    found, handle = place.read_many([(path, 0), (f"{path}{_JOB}", 0)])
    if found is None and str(number) not in place.names(f"{run_dir}/{contract.CLAIMS}"):
        return newest(run_dir, place)  # removed by who has made a newer one
    if found is None:
        return Claim(path, number, None, f"{number}{_FREE}" in names)
    told = parse(handle[0]) if handle else None
    return Claim(path, number, records.from_json(parse(found[0]) or {}), f"{number}{_FREE}" in names, told)


def make(record: Record, after: Claim | None, place: FileSystem) -> Claim | None:
    """The claim of the record's run for its job, as the one after `after`; None where somebody else was faster.

    Raises:
        ClusterError: it cannot be written.
    """
    folder = f"{record.run_dir}/{contract.CLAIMS}"
    number = after.number + 1 if after else 1
    claim = Claim(f"{folder}/{number}", number, record)
    if after is None:
        place.make_shared(folder, posixpath.dirname(record.run_dir))
    if not place.create(claim.path, json.dumps(asdict(record), indent=1) + "\n"):
        return None
    names = place.names(folder)
    if max(_numbers(names), default=0) > number:  # `after` was that old
        place.remove(claim.path)
        return None
    for name in names:
        older = _numbers([name.partition(".")[0]])
        if older and older[0] < number:
            place.remove(f"{folder}/{name}")
    return claim


def submitted(claim: Claim, handle: dict[str, Any], place: FileSystem) -> None:
    """Say that the claim's job was submitted, so that nobody has to look for it."""
    place.create(f"{claim.path}{_JOB}", json.dumps(handle) + "\n")


def free(claim: Claim, place: FileSystem) -> None:
    """Say that the claim's job was not submitted, so that nobody has to find out."""
    place.create(f"{claim.path}{_FREE}", "")


def _numbers(names: list[str]) -> list[int]:
    return [int(name) for name in names if name.isascii() and name.isdigit()]
