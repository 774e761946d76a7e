"""The records of submitted jobs, and how a job is found."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.errors import JobError, RecordError
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from tests.workbench import refused

RECORD = Record("a.1", "a", "stub", "default", "local", "local", "run", "/runs/a.1", "/runs/a", "hash", 1.0)


def _save(folder: Path, *ids: str, **changes: Any) -> None:
    for number, job in enumerate(ids):
        record = replace(RECORD, job_id=job, run_name=job.rpartition(".")[0], submitted=float(number), **changes)
        records.save(folder, record)


def test_a_record_comes_back_whole(tmp_path: Path) -> None:
    record = replace(RECORD, handle={"pid": 5}, max_steps=10, job_dir="/a 'b'/\n/ü")
    records.save(tmp_path / "new" / "folder", record)
    assert records.all_records(tmp_path / "new" / "folder") == [record]
    assert records.find(tmp_path / "new" / "folder", "a.1") == record


@pytest.mark.parametrize("skew", [0.0, -4000.0, 86400.0])
def test_an_end_that_is_still_true_an_hour_later_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """By the clock of who looks, whatever the node's says."""
    records.save(tmp_path, RECORD)
    records.remember(tmp_path, RECORD, Status("RUNNING"))
    assert records.find(tmp_path, "a.1").last_end is None
    end = Status("FAILED", code=7, ended=5000.0 + skew)
    late = 5010.0 + records.SETTLED_S + 1
    for now, final in ((5010.0, None), (5300.0, None), (late, end)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert records.find(tmp_path, "a.1").final is None  # nobody has looked that late: it may have been requeued
        records.remember(tmp_path, records.find(tmp_path, "a.1"), end)
        found = records.find(tmp_path, "a.1")
        assert (found.last_end, found.final) == (end, final)


def test_an_end_of_days_ago_is_final_at_the_first_look(tmp_path: Path) -> None:
    records.save(tmp_path, RECORD)
    end = Status("FAILED", code=7, ended=time.time() - records.AGES_S - 1)
    records.remember(tmp_path, RECORD, end)
    assert records.find(tmp_path, "a.1").final == end


@pytest.mark.parametrize(
    ("state", "kept"), [("RUNNING", False), ("PENDING", False), ("UNKNOWN", True), ("NOT_SUBMITTED", True)]
)
def test_an_end_that_is_no_longer_true_is_dropped(tmp_path: Path, state: str, kept: bool) -> None:
    records.save(tmp_path, RECORD)
    records.remember(tmp_path, RECORD, Status("FAILED", code=7, ended=5000.0))
    records.remember(tmp_path, records.find(tmp_path, "a.1"), Status(state))
    assert (records.find(tmp_path, "a.1").last_end is not None) == kept


def test_a_snapshot_that_is_old_changes_nothing(tmp_path: Path) -> None:
    """Read with Slurm id 100; resumed elsewhere as 200; only then the end of 100 is written down."""
    old = replace(RECORD, handle={"slurm_id": "100"})
    resumed = replace(RECORD, handle={"slurm_id": "200"})
    records.save(tmp_path, old)
    records.save(tmp_path, resumed)
    records.remember(tmp_path, old, Status("TIMEOUT", code=1))
    assert records.all_records(tmp_path) == [resumed]
    records.remember(tmp_path, resumed, Status("COMPLETED", code=0))
    found = records.find(tmp_path, "a.1")
    assert (found.handle, found.last_end) == (resumed.handle, Status("COMPLETED", code=0))


def test_nor_while_it_is_being_resumed(tmp_path: Path) -> None:
    old = replace(RECORD, handle={"slurm_id": "100"})
    records.save(tmp_path, replace(old, launcher={"pid": 1}))
    records.remember(tmp_path, old, Status("TIMEOUT", code=1))
    assert records.find(tmp_path, "a.1").last_end is None


def _count(folder: Path, times: int) -> None:
    for _ in range(times):
        records.change(folder, RECORD, lambda now: replace(now, handle={"n": now.handle.get("n", 0) + 1}))


def test_no_change_is_lost_to_another_process(tmp_path: Path) -> None:
    records.save(tmp_path, RECORD)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_count, args=(tmp_path, 25)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert records.find(tmp_path, "a.1").handle == {"n": 100}


def test_a_record_that_cannot_be_written_is_one_line_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.save(tmp_path, RECORD)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(RecordError, lambda: records.save(tmp_path, replace(RECORD, handle={"x": 1})), "a.1.json", "No space left")
    assert list(tmp_path.glob("*.tmp")) == []
    assert records.all_records(tmp_path) == [RECORD]
    records.remember(tmp_path, RECORD, Status("COMPLETED"))  # what is known is said, though it cannot be kept


def test_an_empty_word_names_no_job(tmp_path: Path) -> None:
    _save(tmp_path, "a.1")
    refused(JobError, lambda: records.find(tmp_path, ""), "no job ''")


def test_equal_slurm_ids_of_two_clusters_are_told_apart(tmp_path: Path) -> None:
    for job, profile in (("a.1", "one"), ("b.1", "two")):
        records.save(tmp_path, replace(RECORD, job_id=job, profile=profile, handle={"slurm_id": "17"}))
    text = refused(JobError, lambda: records.find(tmp_path, "17"), "the Slurm id of 2 jobs", "a.1 (profile one)")
    assert "b.1 (profile two)" in text and "its own id" in text and "beginning" not in text


def test_files_that_are_no_records_are_named(tmp_path: Path) -> None:
    _save(tmp_path, "a.1")
    (tmp_path / "b.1.json").write_text('{"job_id": 5}')
    assert records.unreadable(tmp_path) == [tmp_path / "b.1.json"]


def test_without_any_job(tmp_path: Path) -> None:
    assert records.all_records(tmp_path / "none") == []
    for wanted in ("last", "a.1", ""):
        refused(JobError, lambda w=wanted: records.find(tmp_path / "none", w), "none was submitted")  # type: ignore[misc]


def test_each_way_to_name_a_job(tmp_path: Path) -> None:
    _save(tmp_path, "pretrain-tiny-aaa.1", "pretrain-tiny-aaa.2", "stub-x.1", "pretrain-big-bbb.1")
    found = {
        wanted: records.find(tmp_path, wanted).job_id for wanted in ("last", "stub", "pretrain-tiny-aaa", "pretrain-b")
    }
    assert found == {
        **{"last": "pretrain-big-bbb.1", "stub": "stub-x.1", "pretrain-tiny-aaa": "pretrain-tiny-aaa.2"},
        **{"pretrain-b": "pretrain-big-bbb.1"},
    }


def test_an_id_wins_over_a_longer_one(tmp_path: Path) -> None:
    _save(tmp_path, "a.1", "a.10", "a.11")
    assert records.find(tmp_path, "a.1").job_id == "a.1"


def test_a_runs_name_wins_over_a_prefix(tmp_path: Path) -> None:
    _save(tmp_path, "a.1", "a.2", "a-2.1")
    assert records.find(tmp_path, "a").job_id == "a.2"


def test_a_slurm_id_names_a_job(tmp_path: Path) -> None:
    records.save(tmp_path, replace(RECORD, handle={"slurm_id": 1234}))
    records.save(tmp_path, replace(RECORD, job_id="b.1", run_name="b", handle={"slurm_id": "99"}))
    assert (records.find(tmp_path, "1234").job_id, records.find(tmp_path, "99").job_id) == ("a.1", "b.1")


def test_a_beginning_of_several(tmp_path: Path) -> None:
    _save(tmp_path, "a-x.1", "a-y.1")
    refused(JobError, lambda: records.find(tmp_path, "a-"), "'a-'", "a-x.1", "a-y.1", "more of the id")


@pytest.mark.parametrize("wanted", ["b.1", "a.9", "A.1", "None", "*", "a.1.json", "../a", "\n"])
def test_a_job_that_is_not_there(tmp_path: Path, wanted: str) -> None:
    _save(tmp_path, "a.1")
    refused(JobError, lambda: records.find(tmp_path, wanted), "no job", "launch.py jobs")


def test_the_nearest_is_suggested(tmp_path: Path) -> None:
    _save(tmp_path, "pretrain-tiny-aaa.1")
    refused(JobError, lambda: records.find(tmp_path, "pretrian-tiny-aaa.1"), "'pretrain-tiny-aaa.1'")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "5", "null", '"x"', "{}", '{"job_id": "a.2"}', '{"job_id": 5', "\x00", '[["job_id", 1]]'],
)
def test_a_file_that_is_no_record_is_left_out(tmp_path: Path, text: str) -> None:
    _save(tmp_path, "a.1")
    (tmp_path / "b.1.json").write_text(text)
    assert [record.job_id for record in records.all_records(tmp_path)] == ["a.1"]
    assert records.find(tmp_path, "last").job_id == "a.1"


@pytest.mark.parametrize("change", [{"handle": None}, {"handle": "x"}, {"submitted": "now"}, {"job_id": 5}])
def test_a_record_with_wrong_types_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    _save(tmp_path, "a.1")
    values = json.loads((tmp_path / "a.1.json").read_text())
    (tmp_path / "b.1.json").write_text(json.dumps({**values, "job_id": "b.1", **change}))
    assert [record.job_id for record in records.all_records(tmp_path)] == ["a.1"]
    assert records.find(tmp_path, "a").job_id == "a.1"


def test_keys_of_a_later_version_do_not_matter(tmp_path: Path) -> None:
    _save(tmp_path, "a.1")
    values = json.loads((tmp_path / "a.1.json").read_text())
    (tmp_path / "a.1.json").write_text(json.dumps({**values, "later": 1}))
    assert len(records.all_records(tmp_path)) == 1


def _write_many(folder: Path, mark: str) -> None:
    for number in range(100):
        records.save(folder, replace(RECORD, job_id="shared.1", config=mark * 2000))
        records.save(folder, replace(RECORD, job_id=f"{mark}.{number}"))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, mark)) for mark in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for path in tmp_path.glob("shared.1.json"):
            json.loads(path.read_text())
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(records.all_records(tmp_path)) == 201
    assert list(tmp_path.glob("*.tmp")) == []


@pytest.mark.parametrize(
    ("state", "over"),
    [("COMPLETED", True), ("FAILED", True), ("TIMEOUT", True), ("RUNNING", False), ("UNKNOWN", False)],
)
def test_when_a_job_is_over(state: str, over: bool) -> None:
    assert Status(state).over is over
