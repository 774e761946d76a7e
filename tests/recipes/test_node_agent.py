"""The node agent as a program: real processes, real signals, real torchrun where torchrun is what is tested.

Most tests use launch "python", which is the same supervisor and worker without torchrun's seconds of import.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs.jobdir import JobDir
from tests.conftest import LIMIT_S
from tests.ports import free_port
from tests.recipes.hook_server import Hook

ROOT = Path(__file__).resolve().parents[2]
AGENT = str(ROOT / "recipes" / "node_agent.py")
SCRIPTS = Path(__file__).parent / "agent_scripts"
CONTEXT = ("LAUNCH_", "SLURM", "RANK", "LOCAL_", "WORLD_", "MASTER_", "TORCH", "PET_", "OMP_")

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@dataclass
class Job:
    """One job below a directory, and every process of it by a marker in its environment."""

    home: Path
    marker: str
    spec: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def dir(self) -> Path:
        return Path(self.spec["job_dir"])

    def agent(self, *options: str, node: int | None = None, **popen: Any) -> subprocess.Popen[str]:
        """Start `run`, as an executor does."""
        path = self.home / "spec.json"
        path.write_text(json.dumps(self.spec))
        environ = {name: value for name, value in os.environ.items() if not name.startswith(CONTEXT)}
        environ.update(self.environ, NODE_AGENT_TEST=self.marker)
        if node is not None:
            environ.update(LAUNCH_NODE_RANK=str(node), LAUNCH_HEAD_HOST="127.0.0.1")
        command = [sys.executable, AGENT, "run", str(path), *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True, **popen)
        self.started.append(process)
        return process

    def run(self, *options: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """Run to the end: the exit code and what was said on standard error."""
        process = self.agent(*options)
        _, said = process.communicate(timeout=limit_s)
        return process.returncode, said

    @property
    def exit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.dir / "exit.json").read_text())
        return found

    def node(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.dir / "nodes" / f"{number}.json").read_text())
        return found

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.dir / name).read_text().splitlines()]

    def processes(self) -> list[int]:
        """Every living process that was started by this job, whoever its parent is now."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environ = (entry / "environ").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if f"NODE_AGENT_TEST={self.marker}\0".encode() in environ and state != "Z":
                    found.append(int(entry.name))
        return found

    def wait_for_record(self) -> None:
        """Until the agent has written its first record."""
        eventually((self.dir / "nodes" / "0.json").exists, "the node's record")

    def ranks_in_record(self, count: int) -> dict[str, int]:
        """The ranks' pids, once the node's record names so many."""
        eventually(lambda: len(self.node()["ranks"]) == count, "ranks in the node's record")
        ranks: dict[str, int] = self.node()["ranks"]
        return ranks


def eventually(true: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until `true()`; fail with `what` otherwise."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"waited {limit_s} s for: {what}"
        time.sleep(0.05)


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """A job that runs one of agent_scripts; anything it leaves behind is killed."""
    jobs: list[Job] = []

    def make(script: str, *args: object, name: str = "job", **changes: Any) -> Job:
        home = tmp_path / name
        home.mkdir()
        spec: dict[str, Any] = {
            "schema": 1,
            "job_id": f"{name}-1",
            "run_name": name,
            "job_dir": str(home / "jobs" / f"{name}-1"),
            "run_dir": str(home / "run"),
            "code_dir": str(SCRIPTS),
            "python": sys.executable,
            "launch": "python",
            "script": script,
            "args": [str(arg) for arg in args],
            "nnodes": 1,
            "nproc_per_node": 1,
            "rendezvous": {"id": f"{name}-1", "port": None},
            "env": {},
            "setup_lines": [],
            "startup_commands": [],
            "secrets_file": None,
            "stop_grace_s": 20.0,
            "heartbeat_s": 0.5,
            "stop_with_parent": False,
            "stall_s": None,
            "max_nan_steps": None,
            "notify": None,
        }
        unknown = set(changes) - set(spec)
        assert not unknown, unknown
        jobs.append(Job(home, f"{name}-{time.time_ns()}", spec | changes))
        return jobs[-1]

    yield make
    for job in jobs:
        for pid in job.processes():
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(pid, signal.SIGKILL)
        for process in job.started:
            process.communicate()


MakeJob = Callable[..., Job]


# one process a node, no torchrun


def test_it_starts_without_docstrings() -> None:
    """PYTHONOPTIMIZE=2 in a profile's `env_vars`."""
    done = subprocess.run([sys.executable, "-OO", AGENT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "usage:")


def test_python_launch_gives_the_script_its_place(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("shows.py", tmp_path / "seen", "--flag", "a b", "$HOME;'\"\n")
    code, said = job.run()
    assert code == 0, said
    seen = json.loads((tmp_path / "seen-0").read_text())
    assert seen["argv"] == [str(SCRIPTS / "shows.py"), str(tmp_path / "seen"), "--flag", "a b", "$HOME;'\"\n"]
    assert seen["cwd"] == seen["path0"] == str(SCRIPTS)
    assert seen["name"] == "__main__"
    rank = {name: seen["env"][name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    assert rank == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    assert "LAUNCH_AGENT_DIR" not in seen["env"]
    place = {name: seen["env"][f"LAUNCH_{name.upper()}"] for name in ("job_id", "job_dir", "run_name", "run_dir")}
    assert place == {name: job.spec[name] for name in place}
    assert (job.exit["state"], job.exit["code"], job.exit["error"]) == ("COMPLETED", 0, None)
    assert job.exit["nodes"] == [{"node": 0, "host": job.exit["nodes"][0]["host"], "code": 0}]
    assert [event["state"] for event in job.lines("events.jsonl")] == ["started", "ended"]
    assert job.processes() == []


def test_an_exception_is_recorded_with_the_scripts_own_frames(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("ends.py", 0, "raise", env={"TORCHELASTIC_ERROR_FILE": str(tmp_path / "error.json")})
    code, said = job.run()
    assert code == 1
    assert job.exit["state"] == "FAILED"
    assert job.exit["rank"] == 0
    assert job.exit["error"] == "UnusualError: the shards are gone"
    assert job.exit["log"] == "logs/rank-0.log"
    trace = job.exit["traceback"]
    assert 'ends.py", line' in trace and "in fail" in trace
    assert "node_agent" not in trace and "runpy" not in trace
    assert "UnusualError: the shards are gone" in said
    assert trace in (job.dir / "logs" / "rank-0.log").read_text()
    torchelastic = json.loads((tmp_path / "error.json").read_text())["message"]
    assert torchelastic["message"] == "UnusualError: the shards are gone"
    assert "in fail" in torchelastic["extraInfo"]["py_callstack"]


@pytest.mark.parametrize(
    ("how", "code", "error"),
    [
        ("7", 7, "the last word"),
        ("message", 1, "no tokenizer in this directory"),
        ("abort", 134, "killed by SIGABRT: "),
        ("nccl", 134, "gpu7:1:2 [0] transport/net.cc:1302 NCCL WARN Cuda failure 'uncorrectable ECC error"),
        ("interrupt", 130, "KeyboardInterrupt"),
        ("raise-beside-thread", 1, "UnusualError: the shards are gone"),
    ],
)
def test_how_a_script_can_fail(make_job: MakeJob, how: str, code: int, error: str) -> None:
    job = make_job("ends.py", 0, how)
    assert job.run()[0] == code
    assert (job.exit["state"], job.exit["code"]) == ("FAILED", code)
    assert job.exit["error"].startswith(error)
    if how == "nccl":
        assert (job.exit["known"]["id"], job.exit["known"]["blames_node"]) == ("gpu-ecc", True)


def test_a_forked_childs_exception_is_not_the_ranks(make_job: MakeJob) -> None:
    job = make_job("ends.py", 0, "fork-raises")
    assert job.run()[0] == 0
    assert job.exit["state"] == "COMPLETED"


def test_nasty_values_arrive_and_startup_runs_once_before(make_job: MakeJob, tmp_path: Path) -> None:
    nasty = "a b 'c' \"d\" $HOME `id` ; exit 3 \\ \n\tnext=line=\u00e9 "
    startup = [f"echo once >> {tmp_path}/count", 'export FROM_STARTUP="$NASTY"', "export PATH=/opt/tools:$PATH"]
    job = make_job(
        "shows.py",
        tmp_path / "seen",
        env={"NASTY": nasty, "EMPTY": "", "lower-case.name": "kept"},
        setup_lines=["if true; then", "  export MULTI=line", "fi", "sleep 300 &"],
        startup_commands=startup,
    )
    code, said = job.run()
    assert code == 0, said
    environ = json.loads((tmp_path / "seen-0").read_text())["env"]
    assert environ["NASTY"] == environ["FROM_STARTUP"] == nasty
    assert (environ["EMPTY"], environ["MULTI"], environ["lower-case.name"]) == ("", "line", "kept")
    assert environ["PATH"].startswith("/opt/tools:")
    assert (tmp_path / "count").read_text() == "once\n"
    assert job.processes() == [], "the background process of a startup command ends with the job"


@pytest.mark.parametrize("where", ["setup_lines", "startup_commands"])
@pytest.mark.parametrize("launch", ["python", "torchrun"])
def test_umask_and_ulimit_of_startup_commands_hold_for_the_ranks(
    make_job: MakeJob, tmp_path: Path, where: str, launch: str
) -> None:
    """Soft and hard limits, whatever mode bash is in at the end; what nobody sets stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lines = ["set -o posix", "umask 027", f"ulimit -Sn {soft - 1}", f"ulimit -Hn {hard - 1}", "ulimit -c 8"]
    job = make_job("shows.py", tmp_path / "seen", launch=launch, **{where: lines})
    code, said = job.run()
    assert code == 0, said
    seen = json.loads((tmp_path / "seen-0").read_text())
    assert seen["umask"] == 0o027
    assert seen["limits"]["NOFILE"] == [soft - 1, hard - 1]
    assert seen["limits"]["CORE"] == [8 * 512, 8 * 512]
    assert seen["limits"]["STACK"] == list(resource.getrlimit(resource.RLIMIT_STACK))
    assert (job.dir / "logs" / "rank-0.log").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("(echo why it failed; exit 9)", 9, "failed with exit code 9: ( echo why it failed; exit 9 ) (why it failed)"),
        ("no-such-command-here $HOME", 127, "failed with exit code 127: no-such-command-here $HOME"),
        ("exit 0", 1, "left by `exit`"),
        ("fi", 2, "failed with exit code 2"),
    ],
)
def test_a_failing_startup_command_is_named(make_job: MakeJob, command: str, code: int, error: str) -> None:
    job = make_job("shows.py", "seen", startup_commands=["true", command, "echo not reached"])
    assert job.run()[0] == code
    assert (job.exit["state"], job.exit["code"], job.exit["rank"]) == ("FAILED", code, None)
    assert error in job.exit["error"]
    assert job.exit["log"] == "logs/agent-0.log"
    assert "not reached" not in (job.dir / "logs" / "agent-0.log").read_text()


def test_secrets_reach_the_script_and_stay_nowhere(make_job: MakeJob, tmp_path: Path) -> None:
    secret = "s3cr3t-'\" $x;-value"
    secrets = tmp_path / "secrets.env"
    secrets.write_text("HF_TOKEN='s3cr3t-'\\''\" $x;-value'\n")
    secrets.chmod(0o600)
    check = 'import os, sys; sys.exit(os.environ["HF_TOKEN"])'  # the worst place: the error itself
    script = tmp_path / "leaks.py"
    script.write_text(check)
    job = make_job(str(script), secrets_file=str(secrets), setup_lines=["set -x"])
    assert job.run()[0] == 1
    assert job.exit["error"] == "***"
    assert not secrets.exists()
    for path in [*job.dir.rglob("*"), *Path(job.spec["run_dir"]).rglob("*")]:
        if path.is_file():
            assert secret not in path.read_text(), path


def test_secrets_are_in_no_argument_list(make_job: MakeJob, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("HF_TOKEN=s3cr3t-value\n")
    job = make_job("waits.py", tmp_path, "save", secrets_file=str(secrets))
    agent = job.agent()
    eventually((tmp_path / "ready-0").exists, "the script to run")
    training = int((tmp_path / "ready-0").read_text())
    assert b"HF_TOKEN=s3cr3t-value\0" in Path(f"/proc/{training}/environ").read_bytes()
    for pid in job.processes():
        assert b"s3cr3t-value" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert secrets.exists(), "other nodes may still have to read it"
    agent.send_signal(signal.SIGTERM)
    agent.wait(LIMIT_S)
    assert not secrets.exists()


def test_a_missing_secrets_file_is_an_error(make_job: MakeJob) -> None:
    job = make_job("shows.py", "seen", secrets_file="/nowhere/secrets.env")
    assert job.run()[0] == 1
    assert job.exit["error"] == "secrets file /nowhere/secrets.env cannot be read"


def test_a_second_agent_of_a_node_leaves_the_first_ones_job_alone(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "save")
    first = job.agent()
    eventually((tmp_path / "ready-0").exists, "the job to run")
    code, said = job.run()
    assert (code, "runs here already" in said) == (2, True), said
    assert not (job.dir / "exit.json").exists()
    first.send_signal(signal.SIGTERM)
    first.wait(LIMIT_S)
    assert job.exit["state"] == "CANCELLED"
    assert job.node()["agent_pid"] == first.pid


def test_a_second_job_of_the_run_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    first = make_job("waits.py", tmp_path, "save", name="first")
    second = make_job("shows.py", tmp_path / "seen", name="second", run_dir=first.spec["run_dir"])
    agent = first.agent()
    eventually((tmp_path / "ready-0").exists, "the first job to run")
    assert second.run()[0] == 1
    assert second.exit["state"] == "FAILED"
    assert second.exit["error"].startswith("the run is in use by job first-1")  # decision.py knows these words
    assert not (tmp_path / "seen-0").exists()
    agent.send_signal(signal.SIGTERM)
    agent.wait(LIMIT_S)
    assert second.run()[0] == 0, "the lock is free once the first job has ended"


def test_a_plain_script_has_metrics_and_modules_of_its_own(make_job: MakeJob, tmp_path: Path) -> None:
    code = tmp_path / "own"
    code.mkdir()
    shutil.copy(SCRIPTS / "plain.py", code)
    (code / "contract.py").write_text('NAME = "reward"\n')
    job = make_job("plain.py", code_dir=str(code), launch="python")
    job.spec["backend"] = "none"
    assert job.run()[0] == 0
    steps = [{key: value for key, value in line.items() if key != "time"} for line in job.lines("metrics.jsonl")]
    assert steps == [{"step": 0, "loss": 2.5, "reward": 0}, {"step": 1, "loss": 1.5, "reward": 1}]
    assert (job.exit["state"], job.exit["step"]) == ("COMPLETED", 1)


def test_metrics_and_events(make_job: MakeJob) -> None:
    job = make_job("trains.py")
    assert job.run()[0] == 0
    first, second, validation, last = job.lines("metrics.jsonl")
    assert first.pop("time") == pytest.approx(time.time(), abs=60)
    assert first == {
        "step": 0,
        "epoch": 0,
        "loss": 10.382,
        "grad_norm": 1.4706,
        "lr": 5.5e-4,
        "mem_gib": 0.25,
        "tps": 683.14,
        "tps_per_gpu": 341.57,
        "num_label_tokens": 512,
    }
    assert (second["step"], second["loss"], second["grad_norm"], second["nonfinite"]) == (1, None, None, True)
    assert (validation["step"], validation["val_loss"], validation["name"]) == (1, 9.5, "default")
    assert (last["step"], last["loss"]) == (2, 9.1), "the last line, which no newline ends"
    assert job.exit["step"] == 2
    assert [event["state"] for event in job.lines("events.jsonl")] == ["started", "training", "ended"]


def test_a_detached_job_survives_ctrl_c_and_its_starter(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "save")
    starter = job.agent("--detach", process_group=0)
    assert starter.wait(LIMIT_S) == 0, starter.communicate()[1]
    record = job.node()
    assert (record["state"], record["node"]) in {("starting", 0), ("running", 0)}
    eventually((tmp_path / "ready-0").exists, "the script to run")
    pids = job.processes()
    assert starter.pid not in {os.getpgid(pid) for pid in pids}
    assert os.getsid(0) not in {os.getsid(pid) for pid in pids}
    os.kill(record["agent_pid"], signal.SIGINT)  # a signal that does reach it stops it in order
    eventually((job.dir / "exit.json").exists, "exit.json")
    assert (job.exit["state"], job.exit["code"], job.exit["signal"]) == ("CANCELLED", 130, "SIGINT")
    assert (tmp_path / "saved-0").read_text() == "1", "exactly one SIGTERM"
    eventually(lambda: not job.processes(), "all processes to end")


def test_a_job_may_end_with_the_process_that_started_it(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "save", stop_with_parent=True)
    path = job.home / "spec.json"
    path.write_text(json.dumps(job.spec))
    start = (
        f"import subprocess, sys, time\nsubprocess.check_call({[sys.executable, AGENT, 'run', str(path), '--detach']})"
    )
    environ = {**os.environ, "NODE_AGENT_TEST": job.marker}
    parent = subprocess.Popen([sys.executable, "-c", start + "\ntime.sleep(600)"], env=environ)
    eventually((tmp_path / "ready-0").exists, "the script to run")
    parent.kill()  # not waited for yet: a zombie is gone, too
    eventually((job.dir / "exit.json").exists, "exit.json")
    parent.wait()
    assert (job.exit["state"], job.exit["code"]) == ("CANCELLED", 143)
    assert (tmp_path / "saved-0").exists()
    stopping = job.lines("events.jsonl")[1]
    assert (stopping["state"], stopping["reason"]) == ("stopping", "the process that started the job is gone")


def test_detaching_reports_why_it_did_not_start(make_job: MakeJob) -> None:
    job = make_job("shows.py", "seen")
    Path(job.spec["job_dir"]).parent.write_text("a file where a directory should be")
    code, said = job.run("--detach")
    assert code == 1
    assert "jobs" in said


def test_an_unknown_key_is_refused(make_job: MakeJob) -> None:
    job = make_job("shows.py", "seen")
    job.spec["n_nodes"] = 2
    code, said = job.run()
    assert (code, job.dir.exists()) == (2, False)
    assert "unknown key 'n_nodes'" in said


@pytest.mark.parametrize("twice", [True, False], ids=["second signal", "grace is over"])
def test_a_stubborn_script_is_killed(make_job: MakeJob, tmp_path: Path, twice: bool) -> None:
    job = make_job("waits.py", tmp_path, "stubborn", stop_grace_s=60.0 if twice else 1.0)
    agent = job.agent()
    eventually((tmp_path / "ready-0").exists, "the script to run")
    job.ranks_in_record(1)
    began = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    if twice:
        agent.send_signal(signal.SIGTERM)
        if time.monotonic() - began < 1:  # else this process itself has been kept between the two
            time.sleep(1.3)
            assert agent.poll() is None, "two signals within a second are one"
        while agent.poll() is None:  # on a busy machine the first one may have been heard just now
            agent.send_signal(signal.SIGTERM)
            time.sleep(1.3)
    assert agent.wait(LIMIT_S) == 143
    assert (job.exit["state"], job.exit["code"]) == ("CANCELLED", 143)
    assert job.processes() == []


def test_a_stop_during_startup(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("shows.py", tmp_path / "seen", startup_commands=[f"touch {tmp_path}/began", "sleep 300"])
    agent = job.agent()
    eventually((tmp_path / "began").exists, "the startup commands")
    agent.send_signal(signal.SIGUSR1)
    assert agent.wait(LIMIT_S) == 138
    assert (job.exit["state"], job.exit["signal"]) == ("CANCELLED", "SIGUSR1")
    assert job.processes() == []


def test_slurms_warning_is_a_time_limit(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("shows.py", tmp_path / "seen", startup_commands=[f"touch {tmp_path}/began", "sleep 300"])
    job.environ["SLURM_JOB_ID"] = "5"
    agent = job.agent()
    eventually((tmp_path / "began").exists, "the startup commands")
    agent.send_signal(signal.SIGUSR1)
    assert agent.wait(LIMIT_S) == 138
    assert (job.exit["state"], "before the time limit" in job.exit["error"]) == ("TIMEOUT", True)


def test_sigusr2_dumps_the_stacks(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "save")
    job.agent()
    eventually((tmp_path / "ready-0").exists, "the script to run")
    os.kill(job.ranks_in_record(1)["0"], signal.SIGUSR2)
    stacks = job.dir / "logs" / "stack-0.txt"
    eventually(lambda: "waits.py" in stacks.read_text(), "a stack in its file")


def test_a_requeued_job_starts_with_a_clean_slate(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("ends.py", 0, 7)
    assert job.run()[0] == 7
    job.spec.update(script="trains.py", args=[])
    job.environ["SLURM_RESTART_COUNT"] = "1"
    assert job.run()[0] == 0
    assert (job.exit["state"], job.exit["attempt"]) == ("COMPLETED", 1)
    assert json.loads((job.dir / "exit-0.json").read_text())["code"] == 7
    assert [item["step"] for item in job.lines("metrics.jsonl")] == [0, 1, 1, 2]


_KILLED = """\
import os
link, opened, left = os.link, os.open, [2]
def linked(source, target, **options):
    if os.path.basename(target) == os.environ["KILLED_AT"]:
        os.kill(os.getpid(), 9)
    link(source, target, **options)
def open_(path, *options, **more):
    if os.path.basename(path) == os.environ["KILLED_AT"]:
        left[0] -= 1
        if not left[0]:  # the first one notes the beginning
            os.kill(os.getpid(), 9)
    return opened(path, *options, **more)
os.link, os.open = linked, open_
"""


@pytest.mark.parametrize(
    ("script", "state", "at"), [("trains.py", "COMPLETED", "history.jsonl"), ("ends.py", "FAILED", "exit.json")]
)
def test_an_agent_that_is_killed_behind_its_nodes_end_has_told_that(
    make_job: MakeJob, tmp_path: Path, script: str, state: str, at: str
) -> None:
    """It is what the launcher reads then; where the history lacks it, the next attempt writes it there."""
    job = make_job(script, *([] if script == "trains.py" else [0, 7]))
    job.dir.mkdir(parents=True)
    (job.dir / "agent.json").write_text(json.dumps(job.spec))
    (tmp_path / "sitecustomize.py").write_text(_KILLED)
    job.environ.update(PYTHONPATH=str(tmp_path), KILLED_AT=at)
    assert job.run()[0] == -signal.SIGKILL and not (job.dir / "exit.json").exists()
    now = JobDir(job.dir).status()
    assert (now.state, now.code, now.over) == (state, 0 if state == "COMPLETED" else 7, True)
    assert now.rank == (None if state == "COMPLETED" else 0) and now.ended == job.node()["time"]
    job.environ = {"LAUNCH_ATTEMPT": "1"}
    job.run()
    rows = [json.loads(line) for line in Path(job.spec["run_dir"], "history.jsonl").read_text().splitlines()]
    assert [(row["event"], row["attempt"], row.get("state")) for row in rows] == [
        ("begun", 0, None),
        ("ended", 0, state),
        ("begun", 1, None),
        ("ended", 1, state),
    ]
    assert (rows[1]["time"] == now.ended) is (at == "history.jsonl")  # of what was written down late, its own time


_NO_ROOM = """\
import os, time
replace, monotonic, failed = os.replace, time.monotonic, []
def replaced(source, target, **options):
    folder, name = os.path.split(target)
    there = os.environ["NO_ROOM"] == "ever" or os.path.exists(os.path.join(folder, "room-0"))
    if name == "rank-0.json" and os.path.exists(target) and there:
        failed.append(target)
        raise OSError(28, "No space left on device")
    replace(source, target, **options)
os.replace, time.monotonic = replaced, lambda: monotonic() + 100 * len(failed)
"""


@pytest.mark.parametrize(("room", "code"), [("ever", 0), ("ever", 7), ("kept", 0)])
def test_a_full_disk_of_the_node_makes_no_completed_rank_a_killed_one(
    make_job: MakeJob, tmp_path: Path, room: str, code: int
) -> None:
    """Its /tmp, say, where the rank's end is written down: there is some room kept for that, and its launcher's end."""
    (tmp_path / "sitecustomize.py").write_text(_NO_ROOM)
    job = make_job("ends.py", 0, code)
    job.environ.update(PYTHONPATH=str(tmp_path), NO_ROOM=room)
    ended, _ = job.run()
    state = "FAILED" if code else "COMPLETED"
    assert (job.exit["state"], job.exit["code"], ended) == (state, code, code)
    assert ("No space left" in (job.dir / "logs" / "rank-0.log").read_text()) == (room == "ever")


_FULL_AT_THE_END = """\
import os, time
replace, monotonic, failed = os.replace, time.monotonic, []
def full(*_, **__):
    failed.append(1)
    raise OSError(28, "No space left on device")
def replaced(source, target, **options):
    with open(source, errors="replace") as file:
        last = os.path.basename(target) == "exit.json" or '"state": "ended"' in file.read()
    return full() if last else replace(source, target, **options)
os.replace, os.link, time.monotonic = replaced, full, lambda: monotonic() + 100 * len(failed)
"""


@pytest.mark.parametrize("code", [0, 7])
def test_on_a_full_disk_the_nodes_record_tells_the_end_in_its_place(
    make_job: MakeJob, tmp_path: Path, code: int
) -> None:
    """Where even the room that is kept is gone. It is what `status` goes by, of a job of this machine."""
    (tmp_path / "sitecustomize.py").write_text(_FULL_AT_THE_END)
    job = make_job("ends.py", 0, code)
    job.environ.update(PYTHONPATH=str(tmp_path))
    assert job.run()[0] == code and not (job.dir / "exit.json").exists()
    now = JobDir(job.dir).status()
    assert (now.state, now.code) == ("FAILED" if code else "COMPLETED", code)


_FINISHES = """\
import os, signal, sys, time
if len(sys.argv) > 2:
    path = os.path.join(os.environ["LAUNCH_RUN_DIR"], "finished.json")
    with open(path, "w") as file:
        file.write("{}")
    os.utime(path, (float(sys.argv[2]),) * 2)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
open(sys.argv[1], "w").close()
while not told:
    time.sleep(0.05)
"""


def test_whether_a_run_has_finished_is_no_matter_of_clocks(make_job: MakeJob, tmp_path: Path) -> None:
    """The server's, which is the file's, is an hour late; and then an hour early, with a file that was there before."""
    (tmp_path / "finishes.py").write_text(_FINISHES)
    job = make_job("finishes.py", code_dir=str(tmp_path))
    job.dir.mkdir(parents=True)
    (job.dir / "agent.json").write_text(json.dumps(job.spec))
    for attempt, (args, state) in enumerate(((["-3600"], "COMPLETED"), ([], "CANCELLED"))):
        ready = tmp_path / f"ready-{attempt}"
        job.spec["args"] = [str(ready), *(str(time.time() + float(late)) for late in args)]
        job.environ = {"LAUNCH_ATTEMPT": str(attempt)}
        agent = job.agent()
        eventually(ready.exists, "the script")
        agent.terminate()
        agent.wait(LIMIT_S)
        assert job.exit["state"] == state
        os.utime(Path(job.spec["run_dir"], "finished.json"), (time.time() + 3600,) * 2)


def test_a_killed_job_is_closed_by_the_next_job_of_its_run(make_job: MakeJob, tmp_path: Path) -> None:
    """And one that still trains is not, nor is what it has told of its end told twice."""
    job = make_job("waits.py", tmp_path, "polite")
    job.dir.mkdir(parents=True)
    (job.dir / "agent.json").write_text(json.dumps(job.spec))
    agent = job.agent()
    eventually((tmp_path / "ready-0").exists, "the rank")
    later = make_job("ends.py", 0, 0, name="later", run_dir=job.spec["run_dir"])
    later.spec["job_dir"] = str(job.dir.with_name("later-1"))
    later.dir.mkdir()
    (later.dir / "agent.json").write_text(json.dumps(later.spec))
    history = Path(job.spec["run_dir"], "history.jsonl")

    def rows() -> list[tuple[object, ...]]:
        found = map(json.loads, history.read_text().splitlines())
        return [(row["job_id"], row["event"], row.get("state")) for row in found]

    refused = [("job-1", "begun", None), ("later-1", "begun", None), ("later-1", "ended", "FAILED")]
    assert later.run()[0] == 1 and rows() == refused and not (job.dir / "exit.json").exists()
    agent.kill()
    agent.wait()
    before = JobDir(job.dir).status()
    assert later.run()[0] == 0
    completed = [("later-1", "begun", None), ("job-1", "ended", "FAILED"), ("later-1", "ended", "COMPLETED")]
    assert rows() == refused + completed
    now = JobDir(job.dir).status()
    assert (now.state, now.code, now.ended) == (before.state, before.code, job.node()["time"])
    assert later.run()[0] == 0 and rows()[6:] == [completed[0], completed[2]]


def test_a_failed_node_ends_the_others_and_is_the_one_named(make_job: MakeJob, tmp_path: Path) -> None:
    startup = ['if test "$LAUNCH_NODE_RANK" = 0; then sleep 300; else false; fi']
    job = make_job("shows.py", tmp_path / "seen", nnodes=2, startup_commands=startup)
    agents = [job.agent(node=node) for node in (0, 1)]
    assert agents[1].wait(LIMIT_S) == 1
    agents[0].wait(LIMIT_S)
    assert (job.exit["state"], job.exit["code"]) == ("FAILED", 1)
    assert job.exit["log"] == "logs/agent-1.log"
    assert job.exit["error"] == "startup command failed with exit code 1: false"
    assert [item["code"] for item in job.exit["nodes"]] == [1, 1]


# torchrun


def test_the_rank_that_failed_first_is_the_jobs_result(make_job: MakeJob) -> None:
    job = make_job("ends.py", 3, 7, launch="torchrun", nproc_per_node=4)
    code, said = job.run()
    assert code == 7, said
    assert (job.exit["state"], job.exit["code"], job.exit["rank"]) == ("FAILED", 7, 3)
    assert job.exit["node"] == job.exit["nodes"][0]["host"]
    assert job.exit["error"] == "the last word"
    assert job.exit["log"] == "logs/rank-3.log"
    assert [record["rank"] for record in job.node()["records"]] == [0, 1, 2, 3]
    assert job.processes() == []


def test_a_rank_killed_from_outside_is_named(make_job: MakeJob) -> None:
    job = make_job("ends.py", "none", 0, launch="torchrun", nproc_per_node=2)
    agent = job.agent()
    job.wait_for_record()
    os.kill(job.ranks_in_record(2)["1"], signal.SIGKILL)
    assert agent.wait(LIMIT_S) == 137
    assert (job.exit["state"], job.exit["rank"], job.exit["signal"]) == ("FAILED", 1, "SIGKILL")
    not_memory = "" if job.node()["oom_kills"] is None else ", and not by the kernel for memory"
    assert job.exit["error"] == f"killed by SIGKILL{not_memory}"
    assert job.processes() == []


def test_sigterm_lets_every_rank_save_and_leaves_nothing(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "stray", launch="torchrun", nproc_per_node=2)
    agent = job.agent()
    eventually(lambda: (tmp_path / "ready-0").exists() and (tmp_path / "ready-1").exists(), "both ranks")
    torchrun = next(pid for pid in job.processes() if b"torch.distributed.run" in cmdline(pid))
    os.kill(torchrun, signal.SIGTERM)  # as Slurm may do to every process of a step: must not disturb the save
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(LIMIT_S) == 143
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    assert (job.exit["state"], job.exit["code"], job.exit["signal"]) == ("CANCELLED", 143, "SIGTERM")
    assert [record["code"] for record in job.node()["records"]] == [0, 0]
    assert job.processes() == []
    assert [event["state"] for event in job.lines("events.jsonl")] == ["started", "stopping", "ended"]


def test_a_killed_torchrun_ends_the_job(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "stubborn", launch="torchrun", nproc_per_node=1)
    agent = job.agent()
    job.wait_for_record()
    job.ranks_in_record(1)
    os.kill(next(pid for pid in job.processes() if b"torch.distributed.run" in cmdline(pid)), signal.SIGKILL)
    assert agent.wait(LIMIT_S) == 137
    assert (job.exit["state"], job.exit["error"]) == ("FAILED", "torchrun was killed by SIGKILL")
    assert job.processes() == []


def test_a_killed_agent_takes_its_ranks_along(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("waits.py", tmp_path, "stubborn", launch="torchrun", nproc_per_node=2)
    job.environ["TMPDIR"] = str(job.home)
    agent = job.agent()
    eventually(lambda: (tmp_path / "ready-0").exists() and (tmp_path / "ready-1").exists(), "both ranks")
    agent.kill()
    eventually(lambda: not job.processes(), "torchrun and the ranks to die")
    eventually(lambda: not list(job.home.glob("node-agent-*")), "the private directory goes, too")
    finish = [sys.executable, AGENT, "finish", str(job.dir), "--code", "137"]
    assert subprocess.run(finish).returncode == 137
    assert (job.exit["state"], job.exit["code"], job.exit["complete"]) == ("FAILED", 137, False)
    assert "ended without a record" in job.exit["error"]
    (job.dir / "exit.json").unlink()
    with (job.dir / "logs" / "rank-1.log").open("a") as log:  # what a rank has said is found where its agent is gone
        log.write("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB\n")
    assert subprocess.run(finish).returncode == 1
    assert (job.exit["rank"], job.exit["known"]["id"]) == (1, "gpu-memory")


@pytest.mark.parametrize("launch", ["python", "torchrun"])
def test_a_killed_agent_takes_along_what_its_ranks_have_started(make_job: MakeJob, tmp_path: Path, launch: str) -> None:
    job = make_job("leaves.py", tmp_path / "waits", launch=launch)
    agent = job.agent()
    eventually((tmp_path / "waits").exists, "the script's children")
    eventually(
        lambda: sum(b"sleep" in cmdline(pid) for pid in job.processes()) == 3, "all of them, as what they become"
    )
    agent.kill()
    agent.wait()
    eventually(lambda: not job.processes(), "no process of the job")


def test_a_killed_agent_takes_along_what_startup_commands_wait_for(make_job: MakeJob, tmp_path: Path) -> None:
    """What they leave in the background of a start that went well stays with the job."""
    beside = ["sleep 601 &", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"]
    job = make_job("waits.py", tmp_path, "save", startup_commands=beside)
    started = job.agent()
    eventually(lambda: any(b"sleep\x00601" in cmdline(pid) for pid in job.processes()), "the command in the background")
    started.kill()
    eventually(lambda: not job.processes(), "no process of the job")
    (tmp_path / "go").touch()
    again = job.agent()
    eventually((tmp_path / "ready-0").exists, "the job to run")
    assert sum(b"sleep\x00601" in cmdline(pid) for pid in job.processes()) == 1
    again.send_signal(signal.SIGTERM)
    again.wait(LIMIT_S)
    assert (job.exit["state"], job.processes()) == ("CANCELLED", [])


def test_two_nodes_reduce_over_gloo(make_job: MakeJob, tmp_path: Path) -> None:
    rendezvous = {"id": "two", "port": free_port()}
    job = make_job("reduces.py", tmp_path / "sum", launch="torchrun", nnodes=2, nproc_per_node=2, rendezvous=rendezvous)
    agents = [job.agent(node=node) for node in (1, 0)]
    assert [agent.wait(LIMIT_S) for agent in agents] == [0, 0], [agent.communicate()[1] for agent in agents]
    sums = [(tmp_path / f"sum-{rank}").read_text() for rank in range(4)]
    assert sums == [f"1111 {rank} {rank % 2} 4 {rank // 2}" for rank in range(4)]
    assert job.exit["state"] == "COMPLETED"
    assert [node["node"] for node in job.exit["nodes"]] == [0, 1]
    assert {path.name for path in (job.dir / "logs").iterdir()} == {
        *(f"agent-{node}.log" for node in range(2)),
        *(f"rank-{rank}.log" for rank in range(4)),
    }


def test_two_jobs_at_once_with_spawned_children(make_job: MakeJob, tmp_path: Path) -> None:
    jobs = [
        make_job("spawns.py", tmp_path / name, name=name, launch="torchrun", nproc_per_node=2, env={"MARKER": name})
        for name in ("one", "two")
    ]
    agents = [job.agent() for job in jobs]
    assert [agent.wait(LIMIT_S) for agent in agents] == [0, 0], [agent.communicate()[1] for agent in agents]
    for job in jobs:
        for rank in (0, 1):
            assert (tmp_path / f"{job.spec['run_name']}-{rank}").read_text() == f"[0, 1, 4, 9] {job.spec['run_name']}"
            log = (job.dir / "logs" / f"rank-{rank}.log").read_text()
            assert log.count(f"child of rank {rank}") == 4
        assert len(job.node()["records"]) == 2


def cmdline(pid: int) -> bytes:
    """Its arguments, or nothing where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_agent_tells_of_its_jobs_end(make_job: MakeJob, tmp_path: Path, hook: Hook) -> None:
    """By a secret whose file is gone by then."""
    secrets = tmp_path / "secrets.env"
    secrets.write_text(f"HOOK={hook.url}/aB3dE6gH9jK2mN5pQ8\n")
    job = make_job("ends.py", 0, "message", notify=["env:HOOK"], secrets_file=str(secrets))
    job.dir.mkdir(parents=True)
    (job.dir / "agent.json").write_text(json.dumps(job.spec))
    assert job.run()[0] == 1
    eventually(lambda: hook.posted, "what the agent may have left to a process that sends")
    assert [(path, body["event"], body["error"]) for path, body in hook.posted] == [
        ("/aB3dE6gH9jK2mN5pQ8", "failed", "no tokenizer in this directory")
    ]
    assert not secrets.exists()
    written = "".join(path.read_text(errors="replace") for path in job.dir.rglob("*") if path.is_file())
    assert "127.0.0.1: told (200)" in written
    assert "aB3dE6gH9jK2mN5pQ8" not in written + "".join(hook.processes)
