"""The lines around the first error of a job, from the log of the rank that failed first."""

from __future__ import annotations

from automodel_launch.backends import noise
from automodel_launch.harmless import harmless
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Status
from automodel_launch.launch.quiet import Quiet, noise_of
from automodel_launch.launch.tails import as_text

MOST = 15  # lines before the error, and with it
FEW = 5  # last lines where none names the error
_TAIL = 2**16  # bytes of the log that are looked at
_NAMED = 60  # characters of the error by which its line is found


def lines(job: JobDir, status: Status) -> list[str]:
    """What the log holds up to its error, at most MOST lines; the last FEW where none names it.

    Nothing where that would be the error's own line alone.

    Raises:
        ClusterError: its place cannot be reached.
    """
    found = job.place.read(job.file(status.log), -_TAIL) if status.log and status.error else None
    if found is None:
        return []
    quiet = Quiet(noise_of(job) or noise.NONE)
    written = (as_text(line) for line in found[0].split(b"\n"))
    shown = [line for text in written if (line := quiet.line(text)) is not None and line.strip()]
    words = str(status.error)[:_NAMED]
    at = [number for number, line in enumerate(shown) if words in line]
    kept = shown[max(0, at[-1] + 1 - MOST) : at[-1] + 1] if at else shown[-FEW:]
    if at and len(kept) == 1:  # that one says no more than the error does
        return []
    return [harmless(line) for line in kept]


def others(job: JobDir, status: Status) -> int:
    """How many further ranks have failed with the very same words.

    Raises:
        ClusterError: its place cannot be reached.
    """
    if not status.error:
        return 0
    same = 0
    for node in job.nodes():
        records = node.get("records")
        for record in records if isinstance(records, list) else []:
            told = record.get("error") if isinstance(record, dict) else None
            same += told == status.error and record.get("rank") != status.rank
    return same
