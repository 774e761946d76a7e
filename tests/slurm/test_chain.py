"""A run finishes, whatever happens to it: faults of processes, nodes and Slurm, and what people do to stop it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


class Run:
    """A run of the learner on the cluster, detached, as its files show it."""

    def __init__(self, site: Checkout, *overrides: str) -> None:
        self.site = site
        self.config = {**learner.CONFIG, **{k: json.loads(v) for k, v in (o.split("=") for o in overrides)}}
        record = site.json("learner", "--batch", "chain", *overrides)
        self.dir, self.run_dir = Path(record["job_dir"]), Path(record["run_dir"])
        self.id: str = record["job_id"]

    @classmethod
    def known(cls, site: Checkout) -> Run:
        """The last one that was launched there."""
        run, record = cls.__new__(cls), site.json("status", "last")
        run.site, run.config, run.id = site, learner.CONFIG, record["job_id"]
        run.dir, run.run_dir = Path(record["job_dir"]), Path(record["run_dir"])
        return run

    def attempt(self, number: int) -> int:
        """Wait until that attempt has begun; its Slurm id."""
        wait_until(lambda: self._chain()[2] >= number, 180, f"attempt {number} of {self.id}")
        return self._chain()[0]

    def _chain(self) -> tuple[int, int, int]:
        try:
            now, following, number, *_ = (self.dir / "chain").read_text().split()
        except FileNotFoundError:
            return 0, 0, -1
        return int(now), 0 if following == "-" else int(following), int(number)

    @property
    def next(self) -> int:
        return self._chain()[1]

    def exit(self) -> dict[str, Any]:
        """exit.json, empty while there is none."""
        path = self.dir / "exit.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def log(self) -> str:
        """What the batch scripts have said."""
        return "".join(path.read_text() for path in self.dir.glob("logs/sbatch_*.out"))

    def metrics(self) -> list[dict[str, Any]]:
        path = self.dir / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def reach(self, attempt: int, step: int) -> None:
        """Wait until that attempt has done a step that is that far or further."""
        self.attempt(attempt)

        def there() -> bool:
            begun = self.history("begun")
            since = begun[attempt]["time"] if len(begun) > attempt else float("inf")
            return any(entry["step"] >= step and entry["time"] > since for entry in self.metrics())

        wait_until(there, 180, f"step {step} of attempt {attempt} of {self.id}")

    def go(self, to: int = 10**9) -> None:
        """Let a training that is held (`hold` of its config) go on, up to that step."""
        part = self.run_dir / "go.part"
        part.write_text(str(to))
        part.replace(self.run_dir / "go")

    def node(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.dir / "nodes" / f"{number}.json").read_text())
        return found

    def kill_rank(self, rank: int, signum: int = signal.SIGKILL) -> None:
        os.kill(self._living(rank, lambda node: node["ranks"].get(str(rank))), signum)

    def agent_pid(self, number: int) -> int:
        return self._living(number, lambda node: node["agent_pid"])

    def _living(self, number: int, pid_of: Callable[[dict[str, Any]], int | None]) -> int:
        """A process that the node's record names; a rank may take steps before that record, which is slow, has it."""
        found: list[int] = []

        def there() -> bool:
            node = self.node(number)
            with contextlib.suppress(AssertionError):
                found.extend(self.pid_here(node["host"], pid) for pid in [pid_of(node)] if pid)
            return bool(found)

        wait_until(there, 120, f"the process of node {number} of {self.id}")
        return found[0]

    def pid_here(self, host: str, pid: int) -> int:
        """A process of the job's on a node, which may have a pid namespace of its own, as this machine knows it.

        The nodes of another test's cluster have the same names, and their processes the same numbers.
        """
        for folder in Path("/proc").iterdir():
            try:
                status = (folder / "status").read_text() if folder.name.isdigit() else ""
                if re.search(rf"^NSpid:.*\b{pid}$", status, re.M):
                    environ = (folder / "environ").read_bytes()
                    if f"SLURMD_NODENAME={host}".encode() in environ.split(b"\0") and bytes(self.dir.parent) in environ:
                        return int(folder.name)
            except OSError:  # it has ended meanwhile
                continue
        raise AssertionError(f"{host} has no process {pid} of {self.id}")

    def history(self, event: str) -> list[dict[str, Any]]:
        path = self.run_dir / "history.jsonl"  # which the first attempt's agent makes, some time after the chain's file
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def states(self) -> list[str]:
        """How its attempts ended; the last word on each counts."""
        return [row["state"] for row in self.site.json("status", self.id)["history"]]

    def end(self, code: int = 0) -> str:
        """Follow it to its end; what the launcher says."""
        done = self.site.run("attach", self.id)
        assert done.returncode == code, done.stderr + (self.run_dir / "history.jsonl").read_text()
        assert not any(line.startswith("Traceback") for line in done.stderr.splitlines())  # the launcher's own
        return done.stderr

    def check(self, most_lost: int) -> None:
        """Every step was done, with the losses of an undisturbed run; at most so many were done twice."""
        done = [(entry["step"], entry["loss"]) for entry in self.metrics()]
        expected = learner.undisturbed(self.config, 2)
        last = dict(done)
        assert sorted(last) == list(range(self.config["steps"]))
        assert [last[step] for step in sorted(last)] == pytest.approx(expected, abs=1e-4)
        assert len(done) - len(last) <= most_lost
        assert json.loads((self.run_dir / "finished.json").read_text())["step"] == self.config["steps"]


@contextlib.contextmanager
def without_python(cluster: Cluster, node: int) -> Iterator[None]:
    """While it lasts, no python3 of that node's PATH runs; a job's login shell may have more on it than the tests."""
    login = subprocess.run(
        ["bash", "-lc", "echo $PATH"], env={"HOME": str(Path("~root").expanduser())}, capture_output=True, text=True
    ).stdout.split("\n")[-2]
    folders = {Path(folder) for folder in f"{os.environ['PATH']}:{login}".split(":")}
    names = ["python3", *(f"python3.{minor}" for minor in range(8, 14))]
    found = (folder / name for folder in folders for name in names if (folder / name).exists())
    programs = sorted({str(path.resolve()) for path in found})
    broken = cluster.dir / "no-python3"
    broken.write_text("#!/bin/sh\necho 'python3: command not found' >&2\nexit 127\n")
    broken.chmod(0o755)
    outside = (cluster.dir / "run" / f"node.c{node}.pid").read_text().strip()
    (pid,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()  # process 1 of the node

    def there(command: str) -> None:
        words = [
            "nsenter",
            "-t",
            pid,
            "-m",
            "-p",
            "bash",
            "-c",
            f'for path; do {command} "$path"; done',
            "x",
            *programs,
        ]
        subprocess.run(words, check=True, capture_output=True)

    there(f"mount --bind {broken}")
    try:
        yield
    finally:
        there("umount --lazy")  # a process of the job may have it open still


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    yield learner.site(tmp_path, cluster)
    heal(cluster)


def jobs_left(cluster: Cluster, run: Run) -> list[str]:
    """What waits or runs; a job that is COMPLETING has ended, and is let go by its nodes when they come to it."""
    rows = cluster.check("squeue", "-h", f"--name={run.id}", "-o", "%i %T").splitlines()
    return [row for row in rows if not row.endswith("COMPLETING")]


def test_processes(tmp_path: Path, cluster: Cluster) -> None:
    """A rank and an agent are killed, a rank is stopped, the disk is full while a checkpoint is saved."""
    site = learner.site(tmp_path, cluster, 'stall = "20s"')
    try:
        _processes(site, cluster)
    finally:
        heal(cluster)


def _processes(site: Checkout, cluster: Cluster) -> None:
    run = Run(site, "steps=60", "full_at=44", "hold=7")
    run.reach(0, 7)
    run.kill_rank(1)
    run.go(17)
    run.reach(1, 17)
    os.kill(run.agent_pid(1), signal.SIGKILL)
    run.go(27)
    run.reach(2, 27)
    run.kill_rank(1, signal.SIGSTOP)
    run.go()
    said = run.end()
    run.check(most_lost=4 * 5)
    assert run.states() == ["FAILED", "FAILED", "FAILED", "FAILED", "COMPLETED"]
    whys = [entry["why"] for entry in run.history("ended")]
    expected = ("SIGKILL", "without a record", "hung: no step", "No space left", "finished")
    for words, why in zip(expected, whys, strict=True):
        assert words in why
        assert words in said
    assert "5 attempts" in said
    assert jobs_left(cluster, run) == []


def test_preemption(tmp_path: Path, cluster: Cluster) -> None:
    """A job of higher priority comes, and an operator would requeue; slurmctld starts anew."""
    site = learner.site(tmp_path, cluster, partition="low")
    try:
        run = Run(site, "steps=60", "hold=7")
        run.reach(0, 7)
        other = cluster.submit("sleep 2", "--partition=high", "--nodes=4", "--exclusive")
        run.attempt(1)
        run.go(17)
        run.reach(1, 17)
        assert cluster.wait_for(other) == "COMPLETED"
        assert cluster.run("scontrol", "requeue", str(run.attempt(1))).returncode  # the chain is quicker
        cluster.stop_ctld()
        cluster.start_ctld()
        run.go()
        run.end()
        run.check(most_lost=5)
        assert run.states() == ["PREEMPTED", "COMPLETED"]
        assert jobs_left(cluster, run) == []
    finally:
        heal(cluster)


@pytest.mark.slow
def test_an_operator_insists_on_a_requeue(site: Checkout, cluster: Cluster) -> None:
    """Slurm refuses it for jobs with --no-requeue; changed by hand, the same Slurm job is the next attempt."""
    run = Run(site, "steps=60")
    run.reach(0, 7)
    first = run.attempt(0)
    cluster.check("scontrol", "update", f"jobid={first}", "requeue=1")
    cluster.check("scontrol", "requeue", str(first))
    run.reach(1, 10)
    assert run.attempt(1) == first
    run.end()
    run.check(most_lost=5)
    assert run.states()[-1] == "COMPLETED"
    assert "requeued" in run.history("ended")[0]["why"]
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_time_limit_in_the_middle_of_a_step(site: Checkout, cluster: Cluster) -> None:
    """Made shorter while the job runs, so that nobody could foresee it."""
    run = Run(site, "steps=500")
    run.reach(0, 7)
    cluster.expire(run.attempt(0))
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["TIMEOUT", "COMPLETED"]


@pytest.mark.slow
def test_nodes(site: Checkout, cluster: Cluster) -> None:
    """The node of the batch script loses its power, another one its network, for ever."""
    run = Run(site, "steps=60")
    run.reach(0, 7)
    first = run.node(0)["host"]
    cluster.kill_node(int(first[1:]))
    run.reach(1, 17)
    second = run.node(1)["host"]
    cluster.cut_node(int(second[1:]))
    run.end()
    run.check(most_lost=2 * 5)
    assert run.states() == ["NODE_FAIL", "NODE_FAIL", "COMPLETED"]
    assert first not in run.history("begun")[1]["nodes"]
    bad = [row["node"] for row in site.json("nodes", "chain")]
    assert first in bad
    assert site.run("nodes", "chain", "--forgive", first).returncode == 0
    assert first not in site.run("nodes", "chain").stdout


@pytest.mark.slow
def test_a_node_that_is_given_up_writes_no_more(site: Checkout, cluster: Cluster) -> None:
    """Cut off, the head node goes on by itself until it sees that a later attempt has begun."""
    run = Run(site, "steps=60")
    run.reach(0, 7)
    agent = run.agent_pid(0)
    cluster.cut_node(int(run.node(0)["host"][1:]))
    run.reach(1, 10)
    wait_until(lambda: not Path(f"/proc/{agent}").exists(), LIMIT_S, "the end of the agent that was given up")
    run.end()
    run.check(most_lost=5)


@pytest.mark.slow
def test_a_cable_that_is_put_back(site: Checkout, cluster: Cluster) -> None:
    """Half a minute without the network is longer than Slurm waits for a node."""
    run = Run(site, "steps=60")
    run.reach(0, 7)
    node = int(run.node(1)["host"][1:])
    cluster.cut_node(node)
    time.sleep(30)
    cluster.join_node(node)
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["NODE_FAIL", "COMPLETED"]


@pytest.mark.slow
def test_time_limit_in_the_middle_of_a_save(tmp_path: Path, cluster: Cluster) -> None:
    run = Run(learner.site(tmp_path, cluster), "steps=12", "save_s=45.0")
    part = run.run_dir / "checkpoints" / "epoch_0_step_9" / "part-0"
    wait_until(part.exists, 120, str(part))  # the one before is whole
    cluster.expire(run.attempt(0))
    wait_until(lambda: len(run.history("ended")) > 0, LIMIT_S, "the end of the first attempt")
    assert (part.parent / ".incomplete").exists()
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["TIMEOUT", "COMPLETED"]


@pytest.mark.slow
@pytest.mark.parametrize("phase", [0, 1, 2, 3])
def test_killed_while_it_saves(site: Checkout, cluster: Cluster, phase: int) -> None:
    run = Run(site, "steps=20", "save_s=2.0")
    run.reach(0, 9)
    part = run.run_dir / "checkpoints" / "epoch_0_step_9" / f"part-{phase}"
    wait_until(part.exists, LIMIT_S, str(part), interval=0.02)
    run.kill_rank(0)
    run.end()
    run.check(most_lost=5)
    assert "going on from step 4" in (run.dir / "logs" / "rank-0.log").read_text()


def test_an_error_that_comes_again(site: Checkout, cluster: Cluster) -> None:
    run = Run(site, "fail_at=3")
    said = run.end(code=1)
    assert run.states() == ["FAILED", "FAILED"]
    assert "it failed twice in the same way at step 2: ValueError: no more data" in said
    assert jobs_left(cluster, run) == []


def test_a_chain_that_ended_while_slurm_was_away_does_not_start_again(site: Checkout, cluster: Cluster) -> None:
    """`finish` cannot cancel those that wait; an attached launcher has the end once, and keeps it."""
    run = Run(site, "steps=25", "hold=7")
    waiting = run.attempt(0), run.next
    run.reach(0, 7)
    cluster.stop_ctld()
    run.go()
    wait_until(lambda: "stays in the queue" in run.log(), 180, "the end of scancel's patience")
    before = run.exit(), run.metrics(), run.history("begun"), run.history("ended")
    cluster.start_ctld()
    run.end()
    wait_until(lambda: not jobs_left(cluster, run), 120, "the end of those that waited")
    assert "finished" in before[0]["why"]
    assert cluster.wait_for(waiting[1]) == "COMPLETED"  # it did start
    assert (run.exit(), run.metrics(), run.history("begun"), run.history("ended")) == before
    assert site.json("status", run.id)["state"] == "COMPLETED"
    run.check(most_lost=0)


def test_a_node_without_python_does_not_end_the_chain(site: Checkout, cluster: Cluster) -> None:
    """The job that comes next dies there before it begins; the spare one is kept off that node, and goes on."""
    if not cluster.has_namespaces:
        pytest.skip("needs a mount namespace a node")
    run = Run(site, "steps=60", "hold=7")
    run.reach(0, 7)
    first, following = run.attempt(0), run.next
    cluster.check("scontrol", "hold", str(following))
    run.kill_rank(1)
    run.go()
    cluster.wait_for(first)
    with without_python(cluster, 1):
        cluster.check("scontrol", "update", f"jobid={following}", "reqnodelist=c1")
        cluster.check("scontrol", "release", str(following))
        cluster.wait_for(following, "FAILED")
        run.attempt(1)
        run.end()
    run.check(most_lost=5)
    assert run.states() == ["FAILED", "COMPLETED"]
    assert "c1" not in run.history("begun")[1]["nodes"]
    assert "c1" in [row["node"] for row in site.json("nodes", "chain")]
    assert jobs_left(cluster, run) == []


def test_nobody_is_queued_any_more(site: Checkout, cluster: Cluster) -> None:
    """Both that wait die before they begin: status, jobs and attach say so, and `resume` goes on."""
    run = Run(site, "steps=40", "hold=7")
    run.reach(0, 7)
    first = run.attempt(0)
    agent = run.dir / "code" / "recipes" / "node_agent.py"
    text = agent.read_text()
    waiting = (run.dir / "chain").read_text().split()[1::2]
    for job in waiting:
        cluster.check("scontrol", "hold", job)
    run.kill_rank(1)
    run.go()
    cluster.wait_for(first)
    agent.write_text("raise SystemExit('no such agent')\n")
    for job in waiting:
        cluster.check("scontrol", "release", job)
        cluster.wait_for(int(job), "FAILED")
    agent.write_text(text)
    now = site.json("status", run.id)
    assert (now["state"], now["stuck"]) == ("FAILED", True)
    assert "no further attempt is queued" in now["error"]
    assert f"launch.py resume {run.id}" in site.run("jobs").stdout
    assert "python launch.py resume" in run.end(code=now["code"])
    assert site.run("resume", run.id).returncode == 0
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["FAILED", "COMPLETED"]


def test_gpu_hours_are_limited(tmp_path: Path, cluster: Cluster) -> None:
    """40 s of two GPUs: the attempt saves before that, and is the last one."""
    site = learner.site(tmp_path, cluster, f"max_gpu_hours = {2 * 40 / 3600:.5f}")
    run = Run(site, "steps=6000")
    said = run.end(code=143)
    (end,) = run.history("ended")
    assert end["state"] == "TIMEOUT" and end["checkpoint"] == end["to_step"]
    assert 0.5 * 80 / 3600 < end["gpu_hours"] <= 80 / 3600
    assert "the end: " in said and "max_gpu_hours" in said
    assert "of 0.02222 (max_gpu_hours)" in site.run("status", run.id).stdout
    refused = site.run("resume", run.id)
    assert refused.returncode == 2 and "a higher max_gpu_hours" in refused.stderr
    assert jobs_left(cluster, run) == []


def test_cancel_ends_all_of_it(site: Checkout, cluster: Cluster) -> None:
    run = Run(site, "steps=6000")
    run.reach(0, 7)
    following = run.next
    assert cluster.state(following) == "PENDING"
    assert "CANCELLED" in site.run("cancel", run.id).stdout
    assert run.states() == ["CANCELLED"]
    assert jobs_left(cluster, run) == []
    assert cluster.state(following) == "CANCELLED"
    saved = run.history("ended")[-1]
    assert saved["checkpoint"] == saved["to_step"]  # it was given the time for that


@pytest.mark.slow
def test_scancel_by_hand(site: Checkout, cluster: Cluster) -> None:
    run = Run(site, "steps=600")
    run.reach(0, 7)
    cluster.check("scancel", str(run.attempt(0)))
    run.end(code=143)
    assert run.states() == ["CANCELLED"]
    assert jobs_left(cluster, run) == []
    assert site.json("status", run.id)["state"] == "CANCELLED"


def test_pause_and_resume(site: Checkout, cluster: Cluster) -> None:
    """The kill-switch: a file that anybody can make without the launcher, and what the launcher makes of it."""
    run = Run(site, "steps=50", "hold=7")
    run.reach(0, 7)
    (run.run_dir / "stop").touch()
    run.end(code=143)
    assert jobs_left(cluster, run) == []
    run.go(20)
    assert site.run("resume", run.id).returncode == 0
    run.reach(1, 20)
    done = site.run("pause", run.id)
    run.go()
    assert "paused" in done.stderr and "CANCELLED" in done.stdout
    refused = site.run("learner", "--batch", "chain", "steps=50", "hold=7")
    assert refused.returncode == 3, refused.stdout
    assert "is paused" in refused.stderr
    assert site.run("resume", run.id).returncode == 0
    assert site.run("resume", run.id).returncode == 2  # it is not over
    run.end()
    run.check(most_lost=0)
    assert run.states() == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert "nothing was started" in site.run("resume", run.id).stderr


def test_two_resumes_at_once(tmp_path: Path, cluster: Cluster) -> None:
    """One job, with its secrets: neither takes away what the other has brought."""
    site = learner.site(tmp_path, cluster, 'secrets = ["CHAOS_TOKEN"]')
    site.environ["CHAOS_TOKEN"] = "a-token-of-this-test"
    run = Run(site, "steps=40", "hold=7")
    run.reach(0, 7)
    assert site.run("cancel", run.id).returncode == 0
    run.go()
    both = [site.start("resume", run.id) for _ in range(2)]
    assert sorted(process.wait() for process in both) in ([0, 2], [0, 3])  # it is being resumed, or runs
    run.end()
    run.check(most_lost=0)
    assert run.states() == ["CANCELLED", "COMPLETED"]
    assert jobs_left(cluster, run) == []
    assert not (run.dir / "secrets.env").exists()


def test_the_submitter_is_gone(site: Checkout, cluster: Cluster) -> None:
    process = site.start("learner", "--run", "chain", "hold=7")
    jobs = site.root.parent / "jobs"
    wait_until(lambda: list(jobs.glob("*/metrics.jsonl")), 120, "the first step")
    process.kill()
    process.wait()
    run = Run.known(site)
    run.kill_rank(1)
    run.go()
    done = site.run("attach", "last")
    assert done.returncode == 0, done.stderr
    assert "2 attempts" in done.stderr


@pytest.mark.slow
def test_the_number_of_jobs_is_limited(tmp_path: Path, cluster: Cluster) -> None:
    """`chain = 2`: the second one is the last, whatever it has done."""
    site = learner.site(tmp_path, cluster, "chain = 2")
    text = (site.root / "env.toml").read_text().replace('until = "done"\n', "")
    (site.root / "env.toml").write_text(text)
    run = Run(site, "steps=600")
    for attempt, step in ((0, 7), (1, 17)):
        run.reach(attempt, step)
        run.kill_rank(1)
    said = run.end(code=137)
    assert "its 2 jobs are used up" in said
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_minutes_of_work_under_a_limit_of_one(tmp_path: Path, cluster: Cluster) -> None:
    site = learner.site(tmp_path, cluster)
    text = (site.root / "env.toml").read_text().replace("00:10:00", "00:01:00")
    (site.root / "env.toml").write_text(text)
    began = time.monotonic()
    run = Run(site, "steps=600", "pause=1.0", "save_s=2.0", "every=50")
    while time.monotonic() - began < 1500 and not (run.run_dir / "finished.json").exists():
        time.sleep(5)
    run.end()
    run.check(most_lost=0)  # each limit was foreseen, and the last step saved
    assert set(run.states()[:-1]) == {"TIMEOUT"}
