"""Jobs of this machine whose directory is removed, or whose agent is stopped: they are told, and can be ended."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Checkout, Main, wait_for

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


def test_a_job_of_another_user_of_the_group_is_stopped_by_a_file(
    checkout: Checkout, job: Path, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write its directory, and not signal its processes."""

    def refused(pid: int, number: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refused)
        killed = main(checkout, "cancel", "r.1", "--now")
        assert (killed.returncode, "r.1 is another user's, whose processes" in killed.stderr) == (2, True), (
            killed.stderr
        )
        done = main(checkout, "cancel", "r.1")
    assert (done.returncode, done.stdout) == (0, "r.1: CANCELLED\n"), done.stderr
    assert f"it stops when its agent sees {job}/stop" in done.stderr
