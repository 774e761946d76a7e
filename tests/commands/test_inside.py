"""`exec`, `stacks`, `save` and `profile` of a job that runs on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch.commands import stacks
from automodel_launch.executors import inside
from automodel_launch.jobs import records
from tests.commands.conftest import Cli
from tests.conftest import ROOT, Checkout, make_checkout, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads a rank's environment from /proc"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with a job of two ranks that goes on until it is cancelled."""
    checkout = make_checkout(tmp_path_factory.mktemp("inside") / "checkout")
    env = (checkout.root / "env.toml").read_text()
    (checkout.root / "env.toml").write_text(env + 'env_vars = { OF_THE_JOB = "a b\\nc" }\n')
    begun = checkout.run("stub", "--batch", "local", "--name", "here", "steps=90000", "pause=0.1")
    assert begun.returncode == 0, begun.stderr
    job = checkout.root / "runs/here.1"
    wait_for(lambda: (job / "metrics.jsonl").exists())
    wait_for(lambda: len(json.loads((job / "nodes/0.json").read_text())["ranks"]) == 2)
    yield checkout
    assert checkout.run("cancel", "here", "--now").returncode == 0


def test_exec_has_the_jobs_directory_and_environment(running: Checkout) -> None:
    script = 'pwd; echo "$LAUNCH_JOB_ID|${RANK-none}|$OF_THE_JOB|$1"; exit 3'
    done = running.run("exec", "here", "--", "bash", "-c", script, "x", "it's $HOME")
    assert done.returncode == 3
    assert done.stdout == f"{running.root}/runs/here.1/code\nhere.1|none|a b\nc|it's $HOME\n"


def test_before_its_ranks_have_begun_a_command_has_the_jobs_own_variables(running: Checkout) -> None:
    record = records.find(running.root / ".launch/jobs", "here.1")
    script = inside.lines(
        record, inside.Wanted({"node": 0}, ("sh", "-c", "echo $LAUNCH_JOB_ID $LAUNCH_RUN_NAME")), ["/"]
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("here.1 here\n", "")


def test_exec_passes_input_output_and_errors_on(running: Checkout) -> None:
    command = running.command("exec", "here", "--node", "0", "--", "sh", "-c", "cat; echo no >&2")
    done = subprocess.run(
        command, input=b"\x00\xff text", capture_output=True, env=running.environ, cwd=running.root, check=True
    )
    assert (done.stdout, done.stderr) == (b"\x00\xff text", b"no\n")
    said = running.run("exec", "here", "--json", "--", "sh", "-c", "echo a; echo b >&2; exit 4")
    document = json.loads(said.stdout)
    assert said.returncode == 4
    assert (document["exit_code"], document["stdout"], document["stderr"]) == (4, "a\n", "b\n")


def test_exec_that_cannot_be(running: Checkout) -> None:
    for args, words in (
        (("exec", "here"), "which command?"),
        (("exec", "here", "--"), "which command?"),
        (("exec", "--", "true"), "which JOB?"),
        (("exec", "here", "--node", "c9", "--", "true"), "has no node c9"),
        (("exec", "here", "ls"), "exec here -- ls"),
    ):
        done = running.run(*args)
        assert done.returncode == 2, args
        assert words in done.stderr, done.stderr
    assert running.run("exec", "here", "--", "no-such-command").returncode == 127
    none = running.run("stacks", "here", "--rank", "9")
    assert (none.returncode, none.stderr) == (2, "error: here.1 has no rank 9; ranks: 0 to 1.\n")
    assert running.run("exec", "here", "--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_stacks_of_all_ranks_and_the_job_goes_on(running: Checkout) -> None:
    asked = time.time()
    document = running.json("stacks", "here")
    ranks = [rank for one in document["stacks"] for rank in one["ranks"]]
    assert sorted(ranks) == [0, 1]
    assert all(any("stub.py" in line for line in one["lines"]) for one in document["stacks"])
    text = running.run("stacks", "here", "--rank", "1").stdout
    assert text.startswith("rank 1:\n  === ")
    assert text.count("--- faulthandler") == 1, "what was asked for before is not shown again"
    again = Path(running.root, "runs/here.1/logs/stack-1.txt").read_text()
    assert again.count("--- faulthandler") == 2
    metrics = Path(running.root, "runs/here.1/metrics.jsonl")
    wait_for(lambda: json.loads(metrics.read_text().splitlines()[-1])["time"] > asked)
    assert running.json("status", "here")["state"] == "RUNNING"


def test_stacks_name_the_jobs_code_and_no_nodes_copy_of_it() -> None:
    """Each node's copy has another name, and ranks of several nodes stand at the same lines."""
    assert 'CODE_PREFIX = "launch-code-"' in Path(ROOT, "recipes/node_agent_lib/node_disk.py").read_text()
    for line in ('  File "{}/code/recipes/x.py", line 3 in f', "Process 9: python -u {}/code/x.py worker {}/code/y.py"):
        copied = line.replace("{}", "/dev/shm/launch-code-ab_12")
        assert stacks.named_as_known(copied, "/jobs/a.1") == line.replace("{}", "/jobs/a.1")
    line = '  File "/tmp/launch-venv-ab_12/venv/lib/python3.11/site-packages/torch/x.py", line 3 in f'
    assert '"$LAUNCH_VENV/lib/' in stacks.named_as_known(line, "/jobs/a.1")


def test_stacks_leave_a_stopped_rank_as_it_is(running: Checkout) -> None:
    pid = json.loads(Path(running.root, "runs/here.1/nodes/0.json").read_text())["ranks"]["1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        text = running.run("stacks", "here", "--rank", "1").stdout
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "it was stopped, and is left so" in text
    assert state == "T"


def test_a_training_that_hears_no_requests_is_not_asked(running: Checkout) -> None:
    done = running.run("save", "here")
    assert done.returncode == 2
    assert "does not save on request" in done.stderr
    assert "`pause here.1` saves and ends it" in done.stderr
    record = Path(running.root, "runs/here.1/nodes/0.json")
    wait_for(lambda: json.loads(record.read_text())["step"] is not None)
    deaf = running.run("profile", "here")
    assert deaf.returncode == 2
    assert "here.1 cannot be profiled: its recipe does not hear of such requests" in deaf.stderr
    assert not Path(running.root, "runs/here.1/request-profile").exists()


@pytest.mark.parametrize("command", [("stacks",), ("save",), ("profile",), ("exec", "--", "true")])
def test_a_job_that_is_over(launch: Cli, command: tuple[str, ...]) -> None:
    launch.job(1)
    words = (command[0], "stub-a.1", *command[1:])
    launch.refused(2, words, "stub-a.1", "COMPLETED")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "3:2"), "the first one comes before the last"),
        (("--steps", "three"), "expected A:B"),
        (("--steps", "1:5000"), "100 at most"),
        (("--steps", "+0"), "the first one comes before the last"),
        (("--ranks", "0,,1"), "expected global ranks"),
        (("--ranks", "3:1"), "expected global ranks"),
        (("--ranks", "0:9999"), "256 ranks at most"),
    ],
)
def test_steps_and_ranks_that_are_none(launch: Cli, words: tuple[str, ...], said: str) -> None:
    launch.job(1, state=None)
    launch.refused(2, ("profile", "stub-a.1", *words), " ".join(words), said)
