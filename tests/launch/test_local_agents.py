"""Jobs of this machine whose directory is removed, or whose agent is stopped: they are told, and can be ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from automodel_launch.executors import local
from automodel_launch.jobs.records import Record
from automodel_launch.remote import processes
from tests.conftest import LIMIT_S, Checkout, wait_for

pytestmark = pytest.mark.e2e

MARK = "LAUNCH_TEST_JOB"


def _living(mark: str) -> list[int]:
    """Processes of the job, whoever their parent is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture
def job(checkout: Checkout, tmp_path: Path) -> Iterator[Path]:
    """The directory of a detached job that trains."""
    checkout.environ[MARK] = str(tmp_path)
    done = checkout.run("stub-one", "--batch", "local", "--name", "r", "steps=9000", "pause=0.2")
    assert done.returncode == 0, done.stderr
    del checkout.environ[MARK]
    job_dir = checkout.root / "runs" / "r.1"
    wait_for(lambda: "step 1 " in (job_dir / "logs" / "rank-0.log").read_text())
    yield job_dir
    for pid in _living(str(tmp_path)):
        with suppress(ProcessLookupError):  # it has ended since
            os.kill(pid, signal.SIGKILL)


def _agent(job: Path) -> int:
    pid: int = json.loads((job / "nodes" / "0.json").read_text())["agent_pid"]
    return pid


@pytest.mark.parametrize("now", [(), ("--now",)], ids=str)
def test_a_job_whose_directory_is_gone_is_seen_and_stopped(
    checkout: Checkout, job: Path, tmp_path: Path, now: tuple[str, ...]
) -> None:
    while job.exists():  # the agent writes meanwhile
        shutil.rmtree(job, ignore_errors=True)
    told = checkout.run("status", "r.1").stdout
    assert "r.1: RUNNING" in told and "its directory is gone" in told and "cancel r.1" in told
    assert "waiting for the first step" not in told and "attach" not in told, "nothing of it can be seen"
    assert "its directory is gone" in checkout.run("jobs").stdout
    again = checkout.run("stub-one", "--batch", "local", "--name", "r", "steps=9000", "pause=0.2")
    assert again.returncode == 3 and "r.1 of this run" in again.stderr and "None" not in again.stderr
    done = checkout.run("cancel", "r.1", *now)
    assert (done.returncode, done.stdout) == (0, "r.1: CANCELLED\n"), done.stderr
    assert _living(str(tmp_path)) == []
    for verb in ("status", "jobs"):
        said = checkout.run(verb, *(("r.1",) if verb == "status" else ())).stdout
        assert "CANCELLED" in said and "attach" not in said
    paused = checkout.run("pause", "r.1")
    assert (paused.returncode, "its directory is gone" in paused.stderr) == (2, True), "no resume could end it"


@pytest.mark.parametrize("now", [(), ("--now",)], ids=str)
def test_a_stopped_agent_is_told_and_can_be_cancelled(
    checkout: Checkout, job: Path, tmp_path: Path, now: tuple[str, ...]
) -> None:
    os.kill(_agent(job), signal.SIGSTOP)
    told = checkout.run("status", "r.1").stdout
    assert "r.1: RUNNING" in told and "was stopped" in told and "kill -CONT" in told
    assert "was stopped" in checkout.run("jobs").stdout
    done = checkout.run("cancel", "r.1", *now)
    assert (done.returncode, done.stdout) == (0, "r.1: CANCELLED\n"), done.stderr
    assert _living(str(tmp_path)) == []


def test_a_silent_agent_is_told(checkout: Checkout, job: Path) -> None:
    os.kill(_agent(job), signal.SIGSTOP)
    node = job / "nodes" / "0.json"
    said = json.loads(node.read_text())
    node.write_text(json.dumps({**said, "time": said["time"] - 500, "agent_pid": os.getpid(), "agent_start": _start()}))
    told = checkout.run("status", "r.1").stdout
    assert "r.1: RUNNING" in told and "has not reported for more than" in told


def _start() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def test_a_job_whose_agent_had_to_be_killed_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `cancel --now`, of an agent that takes no signal: nobody but the launcher can say so."""
    monkeypatch.setattr(local, "REACTS_S", 0.1)
    deaf = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    agent = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert agent.stdout is not None and agent.stdout.readline()
    start = processes.start_time(agent.pid)
    node = {
        "agent_pid": agent.pid,
        "agent_start": start,
        "host": socket.gethostname(),
        "state": "running",
        "attempt": 1,
    }
    (tmp_path / "r.1" / "nodes").mkdir(parents=True)
    (tmp_path / "r.1" / "nodes" / "0.json").write_text(json.dumps({**node, "step": 4}))
    words = ("r.1", "r", "stub", "default", "local", "local", "batch", str(tmp_path / "r.1"), str(tmp_path / "r"), "")
    record = Record(*words, 1.0)
    assert local.EXECUTOR.status(record).state == "RUNNING"
    local.EXECUTOR.cancel(record, now=True)
    agent.wait(LIMIT_S)
    now = local.EXECUTOR.status(record)
    assert (now.state, now.code, now.step) == ("CANCELLED", 137, 4) and "did not react" in str(now.error)
    assert json.loads((tmp_path / "r.1" / "exit.json").read_text())["attempt"] == 1
