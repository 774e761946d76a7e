"""Tasks of an array that have not begun, from squeue's one line for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automodel_launch.errors import ClusterError
from automodel_launch.executors.slurm import array_waiting
from automodel_launch.jobs.records import Record
from automodel_launch.remote.shell import Done

RECORD = Record("r.1", "r", "stub", "default", "p", "slurm", "batch", "/jobs/r.1", "/jobs/r", "hash", 1.0)


class Said:
    """A shell whose squeue has said this."""

    place = "there"

    def __init__(self, out: str | None) -> None:
        self.out, self.asked = out, 0

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        self.asked += 1
        if self.out is None:
            raise ClusterError("no answer")
        return Done(0, self.out, "")


def _records(*slurm_ids: str) -> list[Record]:
    handles = [{"array": "/jobs/s.1", "slurm_id": slurm_id} for slurm_id in slurm_ids]
    return [replace(RECORD, job_id=f"r.{number}", handle=handle) for number, handle in enumerate(handles)]


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("12_[0-2]|Resources|/jobs/s.1/script\n", ["r.0", "r.1", "r.2"]),
        ("12_[1,5-9%3]|JobArrayTaskLimit|/jobs/s.1/script\n", ["r.1", "r.3"]),
        ("12_[0-8:2]|None|/jobs/s.1/script\n", ["r.0", "r.2"]),
        ("12_1|BeginTime|/jobs/s.1/script\n", []),  # it has begun before: it is asked for by itself
        ("12_[0-5]|Resources|/jobs/other.1/script\n", []),  # ids are used again
        ("13_[0-5]|Resources|/jobs/s.1/script\n", []),
        ("slurm_load_jobs error\n12_[x]|None|/jobs/s.1/script\n12_[0-99999999999]|N|/x\n", []),
        ("", []),
        (None, []),
    ],
)
def test_what_waits(said: str | None, waits: list[str]) -> None:
    found = array_waiting.look(Said(said), _records("12_0", "12_1", "12_2", "12_7", "14"))  # type: ignore[arg-type]
    assert sorted(found) == waits
    assert {status.state for status in found.values()} <= {"PENDING"}


def test_nothing_is_asked_where_nothing_can_wait() -> None:
    shell = Said("")
    assert array_waiting.look(shell, [replace(RECORD, handle={"slurm_id": "14"})]) == {}  # type: ignore[arg-type]
    assert shell.asked == 0
