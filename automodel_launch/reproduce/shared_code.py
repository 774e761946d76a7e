"""What travels with a sweep, once for all its points (SUBMISSION/code): in use while one of them could start again.

Each point's directory has a link to it, which nothing is removed behind; so it goes by itself, when all of them have.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from automodel_launch import contract, executors
from automodel_launch.jobs.records import Record, Status
from automodel_launch.remote.filesystem import FileSystem

HANDLES = ("array", "together")  # the keys under which a job's handle names the submission (executors.together)
_JOBS = "jobs"  # there: the points' directories, a line each


def unused(
    jobs: Iterable[tuple[Record, Status]], going: Container[str], only: Container[str] | None
) -> Iterator[tuple[str, list[tuple[Record, Status]]]]:
    """Each submission of which no point could start again once the job directories `going` are pruned, with its jobs.

    `only`: names of runs; a submission none of whose points is among them is left out.

    Raises:
        ClusterError: a place cannot be reached.
    """
    of: dict[tuple[str, str, str], list[tuple[Record, Status]]] = {}
    for record, status in jobs:
        for directory in {str(record.handle[key]) for key in HANDLES if key in record.handle}:
            of.setdefault((record.executor, str(record.handle.get("host")), directory), []).append((record, status))
    for (*_, directory), points in of.items():
        wanted = only is None or any(record.run_name in only for record, _ in points)
        if not wanted or not all(status.over for _, status in points):  # one may be about to be written
            continue
        place = executors.get(points[0][0].executor).place_of(points[0][0])
        if contract.CODE in place.names(directory) and all(job in going for job in using(directory, place)):
            yield directory, points


def using(directory: str, place: FileSystem) -> list[str]:
    """The directories of its jobs that could start again, as `prune` has left them their scripts; or its own.

    Raises:
        ClusterError: the place cannot be reached.
    """
    found = place.read(f"{directory}/{_JOBS}")
    if found is None or len(found[0]) < found[1]:  # who they are is not known
        return [directory]
    listed = found[0].decode("utf-8", "surrogateescape").splitlines()
    scripts = place.read_many([(f"{job}/{contract.SCRIPT}", -1) for job in listed])
    return [job for job, script in zip(listed, scripts, strict=True) if script is not None]
