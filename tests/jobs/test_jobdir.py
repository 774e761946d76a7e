"""What a job's directory says of the job: nothing is guessed, and no half-deleted directory crashes the reader."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.remote import processes


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    for name in ("nodes", "logs"):
        (tmp_path / "a.1" / name).mkdir(parents=True)
    return JobDir(tmp_path / "a.1")


def _own_start() -> int | str | None:
    return processes.start_time(os.getpid())


def _node(job: JobDir, **values: Any) -> None:
    own = {"host": socket.gethostname(), "agent_pid": os.getpid(), "agent_start": _own_start(), "state": "training"}
    (Path(job.path) / "nodes" / "0.json").write_text(json.dumps({**own, **values}))


def _exit(job: JobDir, **values: Any) -> None:
    (Path(job.path) / "exit.json").write_text(json.dumps(values))


def test_a_live_agent(job: JobDir) -> None:
    _node(job, step=5)
    assert job.agent_pid() == os.getpid()
    status = job.status()
    assert (status.state, status.step, status.over) == ("RUNNING", 5, False)


def test_the_jobs_own_record_wins_over_a_live_agent(job: JobDir) -> None:
    _node(job)
    _exit(job, state="FAILED", code=7, error="boom", rank=1, node="n1", step=3, signal="SIGKILL")
    status = job.status()
    assert (status.state, status.code, status.error, status.rank, status.signal) == ("FAILED", 7, "boom", 1, "SIGKILL")


def test_an_agent_that_died_without_a_record(job: JobDir) -> None:
    process = subprocess.Popen(["sleep", "60"])
    start = processes.start_time(process.pid)
    _node(job, agent_pid=process.pid, agent_start=start, step=4)
    assert job.status().state == "RUNNING"
    process.kill()
    while processes.start_time(process.pid) is not None:  # a zombie is no living agent, though not yet waited for
        pass
    status = job.status()
    assert (status.state, status.over, status.step) == ("FAILED", True, 4)
    assert status.error
    assert "agent" in status.error
    process.wait()
    assert job.status().state == "FAILED"


_STOP = {"signal": "SIGTERM", "number": 15, "time": 1.0, "reason": "signal"}
_RANK = {"rank": 3, "code": 7, "error": "boom", "signal": None}


@pytest.mark.parametrize(
    ("written", "state", "code", "error"),
    [
        ({"code": 0}, "COMPLETED", 0, None),
        ({"code": 143, "stop": _STOP}, "CANCELLED", 143, None),
        ({"code": 143, "stop": {**_STOP, "reason": "time limit"}}, "TIMEOUT", 143, None),
        ({"code": 143, "stop": {**_STOP, "reason": "/runs/a/stop"}}, "CANCELLED", 143, "stopped: /runs/a/stop"),
        ({"code": 7, "records": [{"rank": 0, "code": 0}, _RANK]}, "FAILED", 7, "boom"),
        ({"code": 7, "records": [_RANK], "stop": _STOP}, "FAILED", 7, "boom"),
        ({"code": 3, "failure": {"code": 3, "error": "no data"}}, "FAILED", 3, "no data"),
        ({"code": 5, "stop": 1, "records": 2, "failure": 3}, "FAILED", 5, "exit code 5"),
        ({"code": 0, "nnodes": 2}, "FAILED", 1, "its node agent died without a record (killed?)"),
        ({"code": None, "state": "running", "stop": _STOP}, "CANCELLED", 143, None),
        ({"code": 0, "state": "running"}, "FAILED", 1, "its node agent died without a record (killed?)"),
        ({"code": None}, "FAILED", 1, "its node agent died without a record (killed?)"),
    ],
)
def test_an_agent_that_died_between_its_nodes_end_and_the_jobs(
    job: JobDir, written: dict[str, Any], state: str, code: int, error: str | None
) -> None:
    _node(job, **{"agent_pid": 2**22 + 1, "state": "ended", "nnodes": 1, "step": 4, "time": 9.0, **written})
    now = job.status()
    assert (now.state, now.code, now.error, now.step) == (state, code, error, 4)


def test_a_pid_that_another_process_has_now(job: JobDir) -> None:
    start = _own_start()
    assert start is not None
    _node(job, agent_start=start - 1 if isinstance(start, int) else start.replace(":", ";"))
    assert job.agent_pid() is None
    assert job.status().state == "FAILED"


def test_a_dead_pid_without_a_start_is_not_alive(job: JobDir) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    _node(job, agent_pid=process.pid, agent_start=None)
    assert job.agent_pid() is None


def test_a_job_of_another_machine_is_not_judged(job: JobDir) -> None:
    start = _own_start() if processes.has_proc() else "Thu Jan  1 00:00:00 1970"
    _node(job, host="elsewhere", agent_start=start, step=2)
    status = job.status()
    assert (status.state, status.over, status.step) == ("UNKNOWN", False, 2)
    assert "elsewhere" in str(status.error)
    assert job.agent_pid() is None


@pytest.mark.skipif(not processes.has_proc(), reason="a machine without /proc has no name of its own")
def test_a_machine_that_has_another_name_now_is_judged(job: JobDir) -> None:
    _node(job, host="as-it-was", machine=contract.this_machine(), step=2)
    assert (job.status().state, job.agent_pid()) == ("RUNNING", os.getpid())
    _node(job, host="as-it-was", machine=contract.this_machine(), step=2, agent_pid=2**22 + 1)
    assert job.status().state == "FAILED"
    _node(job, host="as-it-was", machine="another", step=2)
    assert job.status().state == "UNKNOWN"


def test_before_the_agents_first_word(job: JobDir) -> None:
    assert (job.status().state, job.status().over) == ("UNKNOWN", False)


def test_a_directory_that_is_gone(job: JobDir) -> None:
    shutil.rmtree(job.path)
    assert job.status().state == "UNKNOWN"
    assert "gone" in str(job.status().error)
    assert (job.ranks(), job.last_metrics(), job.agent_pid(), job.exit_record()) == ([], None, None, None)


@pytest.mark.parametrize("state", ["DONE", "\ud800", "RUNNING", None, 5])
def test_a_record_that_tells_no_end_is_not_taken_for_one(job: JobDir, state: Any) -> None:
    """Of another program, or damaged: `attach` would wait for ever, and `jobs` show a state that there is not."""
    _node(job, nnodes=1, state="ended", code=0, step=5, agent_pid=1, agent_start=0)
    _exit(job, state=state, code=0)
    assert (job.exit_record(), job.status().state, job.status().step) == (None, "COMPLETED", 5)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "5", "{}", '{"code": 1}', '{"host": "x"}', "\x00\x00", "[" * 10**5, '{"a":' * 10**5]
)
def test_half_a_directory_never_crashes(job: JobDir, text: str) -> None:
    (Path(job.path) / "exit.json").write_text(text)
    assert job.status().state in ("UNKNOWN", "FAILED")
    (Path(job.path) / "exit.json").unlink()
    (Path(job.path) / "nodes" / "0.json").write_text(text)
    assert job.status().state == "UNKNOWN"
    _node(job, agent_pid=None)
    assert job.agent_pid() is None


def test_ranks_are_those_with_a_log(job: JobDir) -> None:
    for name in ("rank-10.log", "rank-2.log", "rank-x.log", "agent-0.log", "rank-0.log.1"):
        (Path(job.path) / "logs" / name).write_text("")
    assert job.ranks() == [2, 10]


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n', 1.0),
        ('{"step": 1, "loss": 2.0}\n{"step": 2, "val_loss": 1.0}\n', 2.0),
        ('{"step": 1, "loss": 2.0}\n{"step": 2, "lo', 2.0),
        ('{"step": 1, "loss": null, "nonfinite": true}\n', None),
        ("x" * 5000 + '\n{"step": 3, "loss": 3.0}\n', 3.0),
        ('[1]\nnull\n{"step": 1, "loss": 2.0}\n[2]\n', 2.0),
    ],
)
def test_the_last_training_step(job: JobDir, text: str, loss: float | None) -> None:
    (Path(job.path) / "metrics.jsonl").write_text(text)
    last = job.last_metrics()
    assert last is not None
    assert last["loss"] == loss


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", '{"step": 1}\n'])
def test_no_training_step_yet(job: JobDir, text: str) -> None:
    (Path(job.path) / "metrics.jsonl").write_text(text)
    assert job.last_metrics() is None
