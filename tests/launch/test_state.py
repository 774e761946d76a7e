"""A launcher that dies while it submits: the job is found again, or is told as one that was not submitted."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import launcher, records
from automodel_launch.jobs.records import Record
from automodel_launch.launch import state
from automodel_launch.launch.submit import submit
from tests.workbench import Bench, make_bench

DEAD = {**launcher.this(), "pid": 2**22 + 1, "start": 1}


class _Submits:
    """The executor `local` with another way to submit and to find."""

    def __init__(self, act: Any, found: Any = None) -> None:
        self.act, self.found, self.real = act, found, executors.get("local")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def submit(self, plan: Any, workspace: Any, environ: Any) -> Any:
        return self.act(plan)

    def find(self, record: Record) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _use(monkeypatch: pytest.MonkeyPatch, executor: _Submits) -> None:
    monkeypatch.setattr(executors, "get", lambda name: executor)


def _submitted(bench: Bench, monkeypatch: pytest.MonkeyPatch, found: Any) -> Record:
    """The record that a launcher leaves which was killed while it submitted."""
    left: list[Record] = []

    def die(plan: Any) -> Any:
        (record,) = records.all_records(bench.workspace.records)
        left.append(record)
        return {"pid": 1}

    _use(monkeypatch, _Submits(die, found))
    bench.env('secrets = ["TOKEN"]\n')
    submit(bench.plan(environ={"TOKEN": "x"}), bench.workspace, {"TOKEN": "x"})
    record = replace(left[0], launcher=DEAD)
    records.save(bench.workspace.records, record)
    return record


def test_the_record_is_there_before_anything_is_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(plan: Any) -> Any:
        (record,) = records.all_records(bench.workspace.records)
        seen.append(state.look(bench.workspace.records, record)[1].state)
        return {"pid": 1}

    _use(monkeypatch, _Submits(look))
    _, record = submit(bench.plan(), bench.workspace)
    assert seen == ["SUBMITTING"]
    assert records.all_records(bench.workspace.records) == [record]
    assert record.launcher is None


def test_a_job_whose_launcher_was_killed_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _submitted(bench, monkeypatch, {"pid": 7})
    found, _ = state.look(bench.workspace.records, record)
    assert (found.handle, found.launcher) == ({"pid": 7}, None)
    assert records.all_records(bench.workspace.records) == [found]


def test_a_launcher_that_could_not_write_its_record_and_follows_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, and the job it has submitted is found all the same; for its first seconds nobody is asked."""
    record = _submitted(bench, monkeypatch, {"pid": 7})
    records_folder = bench.workspace.records
    for age, handle in ((0.0, record.handle), (10.0, {"pid": 7})):
        at_it = replace(record, launcher={**launcher.this(), "since": time.time() - age})
        records.save(records_folder, at_it)
        found, now = state.look(records_folder, at_it)
        assert found.handle == handle
        assert (now.state == "SUBMITTING") == (age == 0.0)


def test_one_that_was_not_submitted_is_told_and_leaves_no_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _submitted(bench, monkeypatch, None)
    secret = Path(record.job_dir, "secrets.env")
    secret.write_text("TOKEN=x")
    _, now = state.look(bench.workspace.records, record)
    assert (now.state, now.over) == ("NOT_SUBMITTED", True)
    assert not secret.exists()


def test_a_launcher_that_is_at_it_still_keeps_its_secrets_and_its_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has been at it for so long that the place is asked: it may submit the job at this moment."""
    record = _submitted(bench, monkeypatch, None)
    for since in (time.time(), time.time() - 2 * launcher.LONGEST_S):
        at_it = replace(record, launcher={**launcher.this(), "since": since})
        records.save(bench.workspace.records, at_it)
        secrets = Path(record.job_dir, "secrets.env")
        secrets.write_text("")
        found, now = state.look(bench.workspace.records, at_it)
        assert (found, now.state, secrets.exists()) == (at_it, "SUBMITTING", True)


def test_while_the_place_does_not_answer_nothing_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = _submitted(bench, monkeypatch, ClusterError("no route"))
    same, now = state.look(bench.workspace.records, record)
    assert (now.state, now.error) == ("UNKNOWN", "no route")
    assert same == record


@pytest.mark.parametrize(
    ("stopped_by", "error", "reason"),
    [("run_dir", None, "its run was paused"), ("job_dir", "the job was cancelled", None), ("", "stopped: /x", None)],
)
def test_a_pause_is_told_as_one_with_how_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stopped_by: str, error: str | None, reason: str | None
) -> None:
    record = replace(_submitted(bench, monkeypatch, {"pid": 7}), launcher=None)
    directory = getattr(record, stopped_by) if stopped_by else ""
    said = f"stopped: {directory}/stop" if directory else "stopped: /x"
    Path(record.job_dir, "exit.json").write_text(f'{{"state": "CANCELLED", "code": 143, "error": "{said}"}}')
    now = state.of(record)
    assert (now.state, now.error, now.reason) == ("CANCELLED", error, reason)
    assert ("resume" in str(now.advice)) == (reason is not None)


def test_a_refused_job_leaves_no_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(plan: Any) -> Any:
        raise ClusterError("refused")

    _use(monkeypatch, _Submits(refuse))
    with pytest.raises(ClusterError):
        submit(bench.plan(), bench.workspace)
    assert records.all_records(bench.workspace.records) == []


def test_a_signal_waits_until_the_record_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return {"pid": 1}

    _use(monkeypatch, _Submits(interrupted))
    with pytest.raises(KeyboardInterrupt):
        submit(bench.plan(), bench.workspace)
    (record,) = records.all_records(bench.workspace.records)
    assert (record.handle, record.launcher) == ({"pid": 1}, None)
