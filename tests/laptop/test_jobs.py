"""Jobs of a laptop that is no Linux, on the laptop itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.laptop.machine import Laptop

pytestmark = pytest.mark.e2e
ENV_TOML = """
[local]
executor = "local"
nproc_per_node = 2

[prepared]
extends = "local"
startup_commands = ["export GREETING=$'one\\ntwo é'", "export PATH=/nowhere"]
env_vars = {QUIET = "yes"}
"""
LONG = ("steps=9000", "pause=0.1")


@pytest.fixture(autouse=True)
def _profiles(laptop: Laptop) -> Iterator[None]:
    (laptop.root / "env.toml").write_text(ENV_TOML)
    yield
    for row in laptop.json("jobs"):
        if row["state"] == "RUNNING":
            laptop.run("cancel", row["job_id"], "--now")


def _wait(condition: Callable[[], Any], what: str, seconds: float = LIMIT_S) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return value


def _step(laptop: Laptop, job_id: str) -> bool:
    log = laptop.root / "runs" / job_id / "logs" / "rank-0.log"
    return log.exists() and "step 1 " in log.read_text()


def _training(laptop: Laptop, job_id: str) -> list[int]:
    """The job's processes, as this machine's kernel shows them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{laptop.root}/runs/{job_id}/".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _agent(laptop: Laptop, job_id: str) -> int:
    return int(json.loads((laptop.root / "runs" / job_id / "nodes" / "0.json").read_text())["agent_pid"])


def test_a_job_that_outlives_its_command(laptop: Laptop) -> None:
    job_id = laptop.json("stub-one", "--batch", "local", "--name", "detached", *LONG)["job_id"]
    _wait(lambda: _step(laptop, job_id), "a step")
    assert laptop.json("status", job_id)["state"] == "RUNNING"
    assert [row["state"] for row in laptop.json("jobs") if row["job_id"] == job_id] == ["RUNNING"]
    command = laptop.command("attach", job_id)
    follower = subprocess.Popen(command, cwd=laptop.root, env=laptop.environ, stdout=-1, stderr=-1, text=True)
    done = laptop.run("cancel", job_id)
    assert (done.returncode, done.stdout.strip()) == (0, f"{job_id}: CANCELLED"), done.stderr
    out, err = follower.communicate(timeout=LIMIT_S)
    assert "saved" in out
    assert f"{job_id}: CANCELLED, exit code 143" in err
    assert laptop.json("status", job_id)["state"] == "CANCELLED"
    _wait(lambda: not _training(laptop, job_id), "the end of its processes")


def test_a_job_ends_with_the_command_that_it_is_attached_to(laptop: Laptop) -> None:
    command = laptop.command("stub-one", "--run", "local", "--name", "attached", *LONG)
    launcher = subprocess.Popen(command, cwd=laptop.root, env=laptop.environ, stdout=-3, stderr=-3)
    _wait(lambda: _step(laptop, "attached.1"), "a step")
    launcher.kill()
    launcher.wait()
    status = _wait(lambda: (s := laptop.json("status", "attached.1"))["state"] != "RUNNING" and s, "its end")
    assert status["state"] == "CANCELLED"
    _wait(lambda: not _training(laptop, "attached.1"), "the end of its processes")


def test_an_agent_that_is_killed_takes_its_ranks_along_and_is_told(laptop: Laptop) -> None:
    job_id = laptop.json("stub", "--batch", "local", "--name", "killed", *LONG)["job_id"]
    _wait(lambda: _step(laptop, job_id), "a step")
    os.kill(_agent(laptop, job_id), signal.SIGKILL)
    _wait(lambda: not _training(laptop, job_id), "the ranks' end")
    status = laptop.json("status", job_id)
    assert (status["state"], status["code"]) == ("FAILED", 1)
    assert "agent died" in status["error"]


def test_how_a_rank_failed(laptop: Laptop) -> None:
    done = laptop.run("stub", "fail_rank=1", "code=7", "--name", "fails")
    assert done.returncode == 7
    assert "about to fail (rank 1" in done.stderr


def test_startup_commands_reach_the_training(laptop: Laptop) -> None:
    """An `env` without -0, and commands that change the PATH."""
    job_id = laptop.json("stub-one", "--batch", "prepared", "--name", "prepared", *LONG)["job_id"]
    _wait(lambda: _step(laptop, job_id), "a step")
    environs = []
    for pid in _training(laptop, job_id):
        with contextlib.suppress(OSError):  # a command of the agent's, which has ended meanwhile
            environs.append(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    assert any({"GREETING=one\ntwo é".encode(), b"QUIET=yes", b"PATH=/nowhere"} <= {*environ} for environ in environs)


def test_a_job_is_this_laptops_in_another_network_too(laptop: Laptop) -> None:
    """A Mac's host name is what the network calls it."""
    job_id = laptop.json("stub-one", "--batch", "local", "--name", "moved", *LONG)["job_id"]
    _wait(lambda: _step(laptop, job_id), "a step")
    elsewhere = ["unshare", "--uts", "bash", "-c", 'hostname laptop.elsewhere && exec "$@"', "move"]
    command = [*elsewhere, *laptop.command("cancel", job_id)]
    done = subprocess.run(command, cwd=laptop.root, env=laptop.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"{job_id}: CANCELLED"), done.stderr


def test_no_training_is_taken_for_hung_because_nobody_sees_it_work(laptop: Laptop) -> None:
    program = (
        "import sys; sys.path.insert(0, 'recipes')\n"
        "from node_agent_lib.activity import Activity\n"
        "sample = Activity().look(1.0); print(sample.computes, sample.transfers)"
    )
    assert laptop.execute("python", "-c", program, cwd=laptop.root).stdout.split() == ["True", "True"]


def test_data_prep_counts_the_cpus(laptop: Laptop) -> None:
    config = "output_dir: out\ntokenizer: tok\ndatasets: [{name: a, path: a.jsonl}]\n"
    (laptop.root / "prep.yaml").write_text(config)
    program = (
        "import pathlib, sys; sys.path.insert(0, 'recipes')\n"
        "from data_prep_lib.config import load_config\n"
        "print(load_config(pathlib.Path('prep.yaml')).workers)"
    )
    done = laptop.execute("python", "-c", program, cwd=laptop.root)
    assert int(done.stdout) == os.cpu_count(), done.stderr


def test_a_launcher_is_this_laptops_in_another_network_too(laptop: Laptop) -> None:
    program = (
        "from automodel_launch.jobs import launcher\n"
        "moved = {**launcher.this(), 'host': 'laptop.elsewhere'}\n"
        "print(launcher.is_here(moved), launcher.is_here({**moved, 'machine': 'Thu Jan  1 00:00:00 1970'}))"
    )
    assert laptop.execute("python", "-c", program, cwd=laptop.root).stdout.split() == ["True", "False"]
