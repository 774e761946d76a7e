"""node_agent.sh: which Python it takes, and the records that it leaves where there is none. Its PATH is the test's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import finish, records, verdict

from automodel_launch import contract
from automodel_launch.executors import agent_python
from automodel_launch.profile import validation
from automodel_launch.remote.probes import Result
from tests.conftest import ROOT

PROGRAM = ROOT / "recipes" / "node_agent.sh"
TOOLS = ("sh", "dirname", "basename", "uname", "date", "sed", "tr", "mv", "mkdir", "grep", "head")
OLD = "#!/bin/sh\necho 3.6.8\nexit 1\n"  # as a Python of that version answers
BROKEN = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


class Node:
    """A node whose PATH has a few tools and the Pythons of the test, and a job's directory."""

    def __init__(self, root: Path) -> None:
        self.bin, self.job = root / "bin", root / "a.1"
        for folder in (self.bin, self.job / "code" / "recipes"):
            folder.mkdir(parents=True)
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        shutil.copy(PROGRAM, self.job / "code" / "recipes")
        (self.job / "code" / "recipes" / "node_agent.py").write_text("import sys\nprint(*sys.argv[1:])\n")
        self.order()

    def order(self, **values: Any) -> None:
        """agent.json, as submit writes it."""
        spec = {"job_id": "a.1", "python": "no-such-python", "nnodes": 2, "env": {"python": "x"}, **values}
        (self.job / "agent.json").write_text(json.dumps(spec, indent=1) + "\n")

    def has(self, name: str, script: str | None = None) -> str:
        """A Python on PATH: the tests' own, or one that answers so."""
        path = self.bin / name
        if script is None:
            path.symlink_to(sys.executable)
        else:
            path.write_text(script)
            path.chmod(0o755)
        return str(path)

    def call(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        program = [str(self.bin / "sh"), str(self.job / "code" / "recipes" / "node_agent.sh"), *args]
        return subprocess.run(program, env={"PATH": str(self.bin), **environ}, capture_output=True, text=True)

    @property
    def spec(self) -> str:
        """The order's path."""
        return str(self.job / "agent.json")

    def read(self, name: str) -> dict[str, Any]:
        """A record."""
        found: dict[str, Any] = json.loads((self.job / name).read_text())
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_python3_that_will_do_is_taken_without_a_word(node: Node) -> None:
    node.has("python3")
    done = node.call("run", node.spec)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"run {node.spec}\n", "")
    assert node.call("finish", str(node.job), "--code", "3").stdout == f"finish {node.job} --code 3\n"


@pytest.mark.parametrize("script", [OLD, BROKEN])
def test_the_next_name_is_tried_where_one_does_not_do(node: Node, script: str) -> None:
    node.has("python3", script)
    node.has("python3.11", script)
    node.has("python3.10")
    done = node.call("run", node.spec)
    assert (done.returncode, done.stdout) == (0, f"run {node.spec}\n")
    assert "taking python3.10" in done.stderr


def test_the_profiles_own_comes_first_and_the_trainings_last(node: Node) -> None:
    """On a bare node of EL8 the training's Python is the one that is new enough."""
    mine = node.has("mine")
    node.has("python3", OLD)
    node.order(python=mine)
    assert f"taking {mine}" in node.call("run", node.spec).stderr
    node.order(agent_python=mine)
    assert node.call("run", node.spec).stderr == ""
    node.order(agent_python="/no/such", python=mine)
    assert "/no/such is not there, python3 is 3.6.8; taking" in node.call("run", node.spec).stderr


def test_python_alone_is_not_blamed_where_slurm_had_no_environment_for_the_job(node: Node) -> None:
    for environ, told in (({"SLURM_JOB_ID": "7"}, True), ({"SLURM_JOB_ID": "7", "HOME": "/h"}, False), ({}, False)):
        assert node.call("run", node.spec, **environ).returncode == 127
        said = node.read("nodes/0.json")["failure"]["error"]
        assert "no Python 3.8 or later" in said
        assert ("~/.bash_profile" in said) is told
    node.has("python3")
    assert "~/.bash_profile" in node.call("begin", str(node.job), SLURM_JOB_ID="7").stderr
    assert node.call("begin", str(node.job), SLURM_JOB_ID="7", HOME="/h").stderr == ""


@pytest.mark.parametrize("error", ["python 'x' was not found on this node", "ImportError: No module named 'torch'"])
def test_nor_is_what_was_not_found_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    def told(**environ: str) -> Any:
        for name in ("HOME", "SLURM_JOB_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        failure = {"code": 127, "error": error, "time": 1.0, "traceback": None, "victim": False}
        ended = {"schema": 1, "job_id": "a.1", "attempt": 0, "code": 127, "started": 1.0, "time": 1.0, "state": "ended"}
        node = {"node": 0, "nnodes": 1, "host": "c1", "agent_pid": 1, "agent_start": None, "ranks": {}, **ended}
        job = tmp_path / str(len(environ))
        (job / "nodes").mkdir(parents=True)
        (job / "nodes" / "0.json").write_text(json.dumps({**node, "failure": failure}))
        return finish.settle(str(job), records.read_nodes(str(job), None), 1)["error"]

    assert "HOME is not set" in told(SLURM_JOB_ID="7")
    assert told(SLURM_JOB_ID="7", HOME="/h") == told() == error


def test_without_any_the_nodes_record_says_what_was_there(node: Node) -> None:
    """In the form of an agent's own, so that `finish` on another node makes the job's record of it."""
    node.has("python3", OLD)
    done = node.call("run", node.spec, SLURM_JOB_ID="5", SLURM_NODEID="1", LAUNCH_ATTEMPT="2", SLURMD_NODENAME="c2")
    assert done.returncode == contract.NOT_FOUND
    assert not (node.job / "exit.json").exists()
    record = records.node_from_json(node.read("nodes/1.json"))
    assert (record.node, record.nnodes, record.attempt, record.host) == (1, 2, 2, "c2")
    told = verdict.judge([record], None)
    assert (told["state"], told["code"], told["node"], told["complete"]) == ("FAILED", 127, "c2", True)
    assert told["error"].startswith(contract.NO_PYTHON)
    assert "python3 is 3.6.8" in told["error"]


def test_without_any_finish_writes_the_jobs_record(node: Node) -> None:
    begun = node.call("begin", str(node.job), SLURM_JOB_ID="5")
    assert (begun.returncode, begun.stdout) == (0, "")
    assert "only attempt" in begun.stderr
    node.call("run", node.spec, SLURM_JOB_ID="5")
    assert node.call("finish", str(node.job), "--code", "1", SLURM_JOB_ID="5").returncode == 127
    told = node.read("exit.json")
    assert set(told) == set(contract.EXIT_KEYS)
    assert (told["state"], told["code"], told["complete"]) == ("FAILED", 127, True)
    assert "none at all" in told["error"]


def test_without_slurm_the_agents_end_is_the_jobs(node: Node) -> None:
    assert node.call("run", node.spec).returncode == 127
    assert node.read("exit.json")["error"].startswith(contract.NO_PYTHON)
    assert node.call("finish", str(node.job), "--code", "1").returncode == 127


def test_without_slurm_finish_writes_down_that_the_agent_is_gone(node: Node) -> None:
    """Of an exported Docker job on a machine that has no Python itself."""
    (node.job / "nodes").mkdir()
    (node.job / "nodes" / "0.json").write_text('{"state": "running", "failure": null}')
    assert node.call("finish", str(node.job), "--code", "1").returncode == 1
    told = node.read("exit.json")
    assert (set(told), told["state"], told["code"]) == (set(contract.EXIT_KEYS), "FAILED", 1)
    assert "ended without a record" in told["error"]


def test_finish_without_python_keeps_to_what_containers_have_done(node: Node) -> None:
    """The node is of EL8, the image has its own Python: the training's end is the job's."""
    (node.job / "nodes").mkdir()
    (node.job / "nodes" / "0.json").write_text('{"state": "ended", "failure": null}')
    args = ("finish", str(node.job), "--code", "9")
    assert node.call(*args, SLURM_JOB_ID="5").returncode == 9
    assert not (node.job / "exit.json").exists()  # nothing is made up
    end = {"attempt": 0, "complete": True, "state": "COMPLETED", "code": 0, "nodes": [{"node": 0, "code": 7}]}
    (node.job / "exit.json").write_text(json.dumps(end) + "\n")
    assert node.call(*args).returncode == 0
    assert node.read("exit.json") == end


def test_the_launcher_asks_the_same_question_beforehand(node: Node) -> None:
    def ask(**values: Any) -> agent_python.Found | None:
        profile = validation.validate({"executor": "slurm", **values}, str)
        script = agent_python.question(PROGRAM.read_text(), profile)
        done = subprocess.run(
            ["bash", "-c", script], env={"PATH": str(node.bin)}, executable=shutil.which("bash"), capture_output=True
        )
        return agent_python.read(Result(done.returncode, done.stdout.decode().strip()))

    assert ask() == agent_python.Found(None, "", "")
    node.has("python3", OLD)
    assert ask(agent_python="/x") == agent_python.Found(None, "", "/x is not there, python3 is 3.6.8")
    mine = node.has("mine")
    version = ".".join(map(str, sys.version_info[:3]))
    assert ask(python=mine) == agent_python.Found(mine, version, "python3 is 3.6.8")
    assert ask(python=mine, container_image="x:1") == agent_python.Found(None, "", "python3 is 3.6.8")
    assert ask(agent_python=mine) == agent_python.Found(mine, version, "")
    assert agent_python.read(Result(124, "")) is None


def test_a_warning_that_comes_before_the_agent_does_not_end_the_job(node: Node) -> None:
    """Slurm sends the profile's `signal` up to a minute early: here while a Python is looked for."""
    warned = f'#!/bin/sh\n[ "$1" = -c ] && kill -USR1 $PPID\nexec {sys.executable} "$@"\n'
    (node.bin / "python3").unlink(missing_ok=True)
    node.has("python3", warned)
    done = node.call("run", node.spec)
    assert (done.returncode, done.stdout) == (0, f"run {node.spec}\n"), done.stderr
