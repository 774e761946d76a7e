"""One run has one job in the queue, whoever launches it, from wherever."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.errors import ClusterError, PlanRefused, SubmissionUnknown
from automodel_launch.jobs import claims, launcher
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import claim
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.conftest import LIMIT_S
from tests.slurm.conftest import need
from tests.workbench import refused

DEAD = {**launcher.this(), "pid": 2**22 + 1, "start": 1}
ELSEWHERE = {**launcher.this(), "host": "another-host", "machine": "another start of another machine"}
PLACES: list[FileSystem] = [LOCAL, RemoteFileSystem(LocalShell())]


class _Executor:
    """Knows what became of the jobs by their ids."""

    needed: tuple[str, ...] = ()
    way = ("host",)

    def __init__(self, states: dict[str, str] | None = None, found: Any = None) -> None:
        self.states, self.found = states or {}, found
        self.asked: list[Record] = []

    def status(self, record: Record) -> Status:
        self.asked.append(record)
        return Status(self.states.get(record.job_id, "UNKNOWN"))

    def place_of(self, record: Record) -> FileSystem:
        return LOCAL

    def find(self, record: Record) -> dict[str, Any] | None:
        if isinstance(self.found, Exception):
            raise self.found
        found: dict[str, Any] | None = self.found
        return found


def _use(monkeypatch: pytest.MonkeyPatch, **how: Any) -> _Executor:
    executor = _Executor(**how)
    monkeypatch.setattr(executors, "get", lambda name: executor)
    return executor


def _record(root: Path, number: int = 1, who: dict[str, Any] | None = None) -> Record:
    job = f"a.{number}"
    made = Record(job, "a", "stub", "default", "local", "slurm", "batch", f"{root}/{job}", f"{root}/a", "hash", 1.0)
    return replace(made, launcher=who or launcher.this(), handle={"host": "here"})


@pytest.fixture(params=PLACES, ids=["here", "over-a-shell"])
def place(request: pytest.FixtureRequest) -> FileSystem:
    found: FileSystem = request.param
    return found


def test_the_second_launch_is_refused_and_told_how_to_go_on(
    tmp_path: Path, place: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch)
    claim.take(_record(tmp_path), place)
    text = refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), place), "a.1", "SUBMITTING", "--fresh")
    assert "attach a.1" in text and "Nothing was submitted" in text


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_so_is_one_while_the_job_waits_or_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    _use(monkeypatch, states={"a.1": state})
    with claim.held(_record(tmp_path), LOCAL) as submitted:
        submitted({"slurm_id": "7"})
    refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), "a.1", state)


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"])
def test_a_claim_ends_with_its_job(
    tmp_path: Path, place: FileSystem, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    _use(monkeypatch, states={"a.1": state})
    with claim.held(_record(tmp_path), place) as submitted:
        submitted({"slurm_id": "7"})
    assert claim.take(_record(tmp_path, 2), place).number == 2
    assert LOCAL.names(f"{tmp_path}/a/claims") == ["2"]


def test_a_refused_submission_gives_it_back(tmp_path: Path, place: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    with pytest.raises(ClusterError), claim.held(_record(tmp_path), place):
        raise ClusterError("refused")
    assert claim.take(_record(tmp_path, 2), place).number == 2


def test_one_whose_answer_was_lost_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    with pytest.raises(SubmissionUnknown), claim.held(_record(tmp_path), LOCAL):
        raise SubmissionUnknown("lost")
    with pytest.raises(PlanRefused):
        claim.take(_record(tmp_path, 2), LOCAL)


def test_a_killed_launcher_that_submitted_nothing_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch)
    claim.take(_record(tmp_path, who=DEAD), LOCAL)
    assert claim.take(_record(tmp_path, 2), LOCAL).number == 2


def test_one_that_did_submit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, states={"a.1": "RUNNING"}, found={"slurm_id": "7"})
    claim.take(_record(tmp_path, who=DEAD), LOCAL)
    refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), "a.1", "RUNNING")


def test_a_job_whose_state_cannot_be_told_keeps_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _use(monkeypatch, states={"a.1": "UNKNOWN"})
    with claim.held(_record(tmp_path), LOCAL) as submitted:
        submitted({"slurm_id": "7"})
    said = refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), "a.1", "cannot be told", "--fresh")
    assert f"remove {tmp_path}/a/claims/1" in said
    resumed = replace(_record(tmp_path, 2), before={"handle": {}})  # `resume` has no --fresh
    assert "--fresh" not in refused(PlanRefused, lambda: claim.take(resumed, LOCAL), "cannot be told")
    executor.states["a.1"] = "FAILED"
    assert claim.take(_record(tmp_path, 2), LOCAL).number == 2


def test_while_the_cluster_does_not_answer_nothing_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(monkeypatch, found=ClusterError("no route"))
    claim.take(_record(tmp_path, who=DEAD), LOCAL)
    refused(ClusterError, lambda: claim.take(_record(tmp_path, 2), LOCAL), "a.1", "no route")


def test_another_hosts_job_is_asked_for_in_this_hosts_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _use(monkeypatch, states={"a.1": "RUNNING"})
    theirs = replace(_record(tmp_path, who=ELSEWHERE), handle={"host": "theirs"})
    with claim.held(theirs, LOCAL) as submitted:
        submitted({"slurm_id": "7", "host": "theirs"})
    refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), "another-host")
    assert executor.asked[-1].handle == {"slurm_id": "7", "host": "here"}


def test_a_claim_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch)
    LOCAL.create(f"{tmp_path}/a/claims/1", "[5]")
    refused(PlanRefused, lambda: claim.take(_record(tmp_path), LOCAL), f"{tmp_path}/a/claims/1", "remove that file")


def _race(root: Path, number: int, place: FileSystem, gate: Any, won: Any) -> None:
    executors.get = lambda name: _Executor({f"a.{k}": "FAILED" for k in range(3)})  # type: ignore[assignment,return-value]
    gate.wait()
    try:
        claim.take(_record(root, number), place)
        won.put(number)
    except PlanRefused:
        pass
    gate.wait()  # a claim ends with its launcher


@pytest.mark.parametrize("former", [False, True], ids=["new", "taken-over"])
def test_of_many_at_the_same_instant_one_wins(tmp_path: Path, place: FileSystem, former: bool) -> None:
    context = multiprocessing.get_context("fork")
    if former:
        taken = claims.make(_record(tmp_path), None, place)
        assert taken is not None
        claims.submitted(taken, {}, place)
    gate, won = context.Barrier(8), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, n, place, gate, won)) for n in range(10, 18)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(LIMIT_S)
    assert [racer.exitcode for racer in racers] == [0] * 8
    winner = won.get(timeout=LIMIT_S)
    assert won.empty()
    newest = claims.newest(f"{tmp_path}/a", place)
    assert newest is not None and newest.record is not None
    assert newest.record.job_id == f"a.{winner}"


def test_who_was_slow_to_decide_takes_nothing(tmp_path: Path, place: FileSystem) -> None:
    """Its number is free again, since who holds a newer claim has tidied up."""
    first = claims.make(_record(tmp_path, 1), None, place)
    second = claims.make(_record(tmp_path, 2), first, place)
    assert claims.make(_record(tmp_path, 3), second, place) is not None
    assert claims.make(_record(tmp_path, 4), first, place) is None
    newest = claims.newest(f"{tmp_path}/a", place)
    assert newest is not None and newest.record is not None
    assert (newest.number, newest.record.job_id) == (3, "a.3")


def test_a_file_is_made_once_and_whole(tmp_path: Path, place: FileSystem) -> None:
    path = tmp_path / "new" / "folder" / "it's"
    assert place.create(str(path), "ü\n")
    assert not place.create(str(path), "other")
    assert path.read_text() == "ü\n"
    assert LOCAL.names(str(path.parent)) == ["it's"]


def test_without_hard_links_the_name_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert LOCAL.create(f"{tmp_path}/x", "one")
    assert not LOCAL.create(f"{tmp_path}/x", "two")
    assert (tmp_path / "x").read_text() == "one"


@pytest.mark.parametrize(("state", "busy"), [("RUNNING", True), ("FAILED", False), ("UNKNOWN", False)])
def test_a_job_whose_runs_directory_was_removed_counts_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, busy: bool
) -> None:
    _use(monkeypatch, states={"a.1": state})
    theirs, ours = replace(_record(tmp_path), launcher=None), _record(tmp_path, 2)
    known = [theirs, _record(tmp_path, 3), replace(theirs, job_id="b.1", run_dir=f"{tmp_path}/b"), ours]
    if busy:
        refused(PlanRefused, lambda: claim.refuse_remembered(ours, known, LOCAL), "a.1", "RUNNING", "is gone")
    claim.refuse_remembered(ours, known[1:], LOCAL)
    claim.refuse_remembered(replace(ours, handle={"host": "another"}), known, LOCAL)
    if not busy:
        claim.refuse_remembered(ours, known, LOCAL)
    claim.take(_record(tmp_path, 4), LOCAL)
    claim.refuse_remembered(ours, known, LOCAL)  # the claims tell


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a byte left."""
    need(os.getuid() == 0, "root")
    if shutil.which("mount") is None:
        pytest.skip("there is no mount(8)")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_as_one(full_disk: Path, place: FileSystem) -> None:
    """Not as another user's run; and nothing is left that counts as a claim."""
    text = refused(ClusterError, lambda: claim.take(_record(full_disk), place), "No space left", "make room there")
    assert "another user" not in text and "--name" not in text
    assert [name for name in LOCAL.names(f"{full_disk}/a/claims") if not name.startswith(".")] == []
    (full_disk / "filler").unlink()
    assert claim.take(_record(full_disk), place).number == 1


def test_a_job_of_another_checkout_is_followed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, states={"a.1": "RUNNING"})
    other = tmp_path / "my checkout"
    (other / ".launch" / "jobs").mkdir(parents=True)
    theirs = {**launcher.this(), "records": f"{other}/.launch/jobs"}
    with claim.held(_record(tmp_path, who=theirs), LOCAL) as submitted:
        submitted({"slurm_id": "7"})
    way = f"`cd '{other}'; python launch.py attach a.1` follows it, where it was launched"
    refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), way, "--fresh")
    shutil.rmtree(other)  # or another user's
    way = f"who has launched it, in {other}, can follow it"
    refused(PlanRefused, lambda: claim.take(_record(tmp_path, 2), LOCAL), way, "--fresh")
