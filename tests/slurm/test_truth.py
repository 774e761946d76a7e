"""What the launcher says of a job is true: however it ends, and whatever is broken meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ENV = """
[one]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 1
gpus_per_node = 1
nproc_per_node = 1
time = "00:10:00"
python = "{python}"
remote_job_dir = "{root}"
{more}

[two]
extends = "one"
nodes = 2
"""
BLOCK = """# /// script
# requires-python = ">=3.10"
# [tool.runspec]
# schema = "1"
# name = "{name}"
# docs = "{name}"
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/stub-one"
# default = "default"
# ///
"""
AGAIN = """import os, time
print("attempt", os.environ.get("SLURM_RESTART_COUNT", "0"), os.environ.get("A_TOKEN") == "abcdefgh", flush=True)
if "SLURM_RESTART_COUNT" not in os.environ:
    time.sleep(600)
"""
SAVER = """import signal, sys, time
def save(*_):
    time.sleep(9)
    sys.exit(print("saved", flush=True))
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""
MEMORY = """print("eating", flush=True)
food = []
while True:
    food.append(b"x" * 2**24)
"""


def make_site(root: Path, environ: dict[str, str], more: str = "") -> Checkout:
    """A checkout whose profiles `one` and `two` (nodes) submit to a cluster; jobs lie in root/jobs."""
    checkout = make_checkout(root / "checkout")
    for name, text in (("again", AGAIN), ("memory", MEMORY), ("saver", SAVER)):
        (checkout.root / "recipes" / f"{name}.py").write_text(BLOCK.format(name=name) + text)
    checkout.environ = {**clean_environ(), **environ}
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=root / "jobs", more=more))
    return checkout


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """A login node of the cluster whose sacct fails."""
    yield make_site(tmp_path, cluster.env)
    heal(cluster)


heal = Cluster.heal


class Attached:
    """`launch.py ... --run` in the background, begun once its job has logged `text`."""

    def __init__(self, site: Checkout, *args: str, text: str = "step 1 ") -> None:
        self.site = site
        self.jobs = site.root.parent / "jobs"
        self._out, self._err = (site.root.parent / name for name in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = site.start(*args, streams=(out.fileno(), err.fileno()))
        wait_until(lambda: self._has_logged(text), 180, f"{text!r} in the job's log")

    def _has_logged(self, text: str) -> bool:
        assert self.process.poll() is None, self.err
        return any(text in log.read_text() for log in self.jobs.glob("*/logs/rank-0.log"))

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def slurm_id(self) -> str:
        (path,) = (self.site.root / ".launch" / "jobs").glob("*.json")
        return str(json.loads(path.read_text())["handle"]["slurm_id"])

    def end(self, timeout: float = LIMIT_S) -> int:
        """The exit code."""
        code = self.process.wait(timeout)
        assert "Traceback" not in self.err
        return code


def fake(site: Checkout, name: str, script: str) -> None:
    """A command first on the PATH of the site; the real one is $REAL."""
    import shutil

    folder = site.root.parent / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\nREAL={shutil.which(name)}\n{script}\n")
    (folder / name).chmod(0o755)
    site.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def _numbers(nodes: str) -> list[int]:
    """c[1-2,4] -> 1, 2, 4"""
    parts = [part.partition("-") for part in nodes.strip("c[]").split(",")]
    return [number for first, _, last in parts for number in range(int(first), int(last or first) + 1)]


# How jobs end


def test_time_limit(site: Checkout, cluster: Cluster) -> None:
    run = Attached(site, "stub-one", "--run", "two", "steps=9000", "pause=0.2")
    cluster.expire(int(run.slurm_id))
    assert run.end() not in (0, 130)
    assert ": TIMEOUT, exit code" in run.err
    assert "error: the time limit was reached" in run.err


def test_killed_node_and_a_second_attempt_that_ends_well(site: Checkout, cluster: Cluster) -> None:
    """NeMo-Run submits with --requeue, so Slurm begins the job anew, and so does the following of it."""
    run = Attached(site, "again", "--run", "two", text="attempt 0")
    cluster.kill_node(int(cluster.job(int(run.slurm_id))["BatchHost"].removeprefix("c")))
    assert run.end() == 0
    assert "waiting: requeued after attempt 1" in run.err
    assert run.out.split("\n") == ["attempt 0 False", "attempt 1 False", ""]
    assert ": COMPLETED" in run.err


def test_a_second_attempt_has_its_secrets(tmp_path: Path, cluster: Cluster) -> None:
    """The first is stopped from outside, and ends in good order; the file with the secrets has to outlive it."""
    site = make_site(tmp_path, cluster.env, 'secrets = ["A_TOKEN"]')
    site.environ["A_TOKEN"] = "abcdefgh"
    run = Attached(site, "again", "--run", "two", text="attempt 0")
    job = cluster.job(int(run.slurm_id))
    (other,) = set(_numbers(job["NodeList"])) - {int(job["BatchHost"][1:])}
    cluster.declare_down(other)
    try:
        assert run.end() == 0, run.err
        assert run.out.split("\n") == ["attempt 0 True", "attempt 1 True", ""]
        assert not list(run.jobs.glob("*/secrets.env"))
    finally:
        heal(cluster)


def test_failed_node_that_is_not_requeued(site: Checkout, cluster: Cluster) -> None:
    run = Attached(site, "stub-one", "--run", "two", "steps=9000", "pause=0.2")
    cluster.check("scontrol", "update", f"jobid={run.slurm_id}", "requeue=0")
    cluster.declare_down(int(cluster.job(int(run.slurm_id))["BatchHost"].removeprefix("c")))
    assert run.end() not in (0, 130)
    assert ": NODE_FAIL, exit code" in run.err
    assert "error: a node failed" in run.err


def test_memory(tmp_path: Path, cluster: Cluster) -> None:
    if not cluster.has_cgroups:
        pytest.skip("no cgroups here")
    site = make_site(tmp_path, cluster.env, 'mem = "150M"')
    done = site.run("memory", "--run", "one")
    assert ": OUT_OF_MEMORY, exit code" in done.stderr
    assert done.returncode not in (0, 130)


def test_a_python_that_is_not_there(tmp_path: Path, cluster: Cluster) -> None:
    site = make_site(tmp_path, cluster.env)
    text = (site.root / "env.toml").read_text().replace(sys.executable, "/no/such")
    (site.root / "env.toml").write_text(text)
    done = site.run("stub-one", "--run", "one", "--force")
    assert done.returncode == 127, done.stderr
    assert ": FAILED, exit code 127" in done.stderr
    assert "/no/such" in done.stderr.partition("error:")[2]


def test_cancel_now(site: Checkout, cluster: Cluster) -> None:
    run = Attached(site, "stub-one", "--run", "one", "steps=9000", "pause=0.2")
    assert "CANCELLED" in site.run("cancel", "last", "--now").stdout
    assert run.end() not in (0, 130)
    assert ": CANCELLED" in run.err


def test_cancel_waits_for_what_is_saved(tmp_path: Path, cluster: Cluster) -> None:
    """stop_grace counts, and not Slurm's KillWait, which is 5 s on this cluster."""
    site = make_site(tmp_path, cluster.env)
    run = Attached(site, "saver", "--run", "one", text="ready")
    done = site.run("cancel", "last")
    assert "CANCELLED" in done.stdout, done.stderr
    assert run.end() not in (0, 130)
    assert run.out.split("\n") == ["ready", "saved", ""]
    assert ": CANCELLED, exit code 143" in run.err


def test_what_slurm_has_forgotten_the_job_still_tells(site: Checkout, cluster: Cluster) -> None:
    assert site.run("stub-one", "--run", "one", "fail_rank=0", "code=7").returncode == 7
    for name in ("squeue", "scontrol"):
        fake(site, name, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    status = site.json("status", "last")
    assert (status["state"], status["code"]) == ("FAILED", 7)
    assert site.run("attach", "last").returncode == 7
    for path in (site.root.parent / "jobs").glob("*/exit.json"):
        path.unlink()
    assert site.json("jobs")[0]["state"] == "FAILED"  # as it was seen to end


def test_completing_is_no_reason_to_wait_for_a_finished_job(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one")
    cluster.wait_for(int(record["handle"]["slurm_id"]))
    fake(site, "squeue", f"echo 'COMPLETING|None|N/A|c1||{record['job_id']}'")
    assert site.run("attach", "last").returncode == 0  # and does not wait for ever


# What is broken meanwhile


def test_slurmctld_is_away(site: Checkout, cluster: Cluster) -> None:
    outage(site, cluster, 20)


@pytest.mark.slow
def test_slurmctld_is_away_for_a_minute(site: Checkout, cluster: Cluster) -> None:
    outage(site, cluster, 60)


def outage(site: Checkout, cluster: Cluster, seconds: float) -> None:
    steps = round(seconds) * 2 + 10  # it goes on for some seconds afterwards
    run = Attached(site, "stub-one", "--run", "two", f"steps={steps}", "pause=0.5", "fail_rank=0", "code=7")
    cluster.stop_ctld()
    time.sleep(seconds)
    seen = run.out
    cluster.start_ctld()
    assert run.end() == 7
    assert run.err.count("cannot tell the job's state") == 1
    assert "step 15 " in seen  # the log goes on meanwhile
    assert ": FAILED, exit code 7" in run.err
    steps_seen = [line for line in run.out.splitlines() if "step" in line]
    assert len(steps_seen) == len(set(steps_seen)) == steps


def test_another_cluster_is_not_asked_for_the_job(site: Checkout, cluster: Cluster, cluster_dbd: Cluster) -> None:
    """Two clusters have jobs of one id: each job is asked for, and cancelled, where it is."""
    first = site.json("stub-one", "--batch", "one", "steps=9000", "pause=0.2", "value=1")
    first_id = int(first["handle"]["slurm_id"])
    site.environ.update(cluster_dbd.env)
    cluster_dbd.check("scontrol", "update", "partitionname=batch", "state=up")
    other_id = 0
    while other_id < first_id:  # until the other cluster has a job of that id
        other_id = cluster_dbd.submit("sleep 600")
        if other_id < first_id:
            cluster_dbd.check("scancel", str(other_id))
    if other_id > first_id:
        pytest.skip("the clusters' ids have met already")
    second = site.json("stub-one", "--batch", "one", "steps=9000", "pause=0.2", "value=2")
    cluster.wait_for(first_id, "RUNNING")
    cluster_dbd.wait_for(int(second["handle"]["slurm_id"]), "RUNNING")
    for environ in (cluster.env, cluster_dbd.env):
        rows = site.json("jobs", env=environ)
        assert [(row["job_id"], row["state"]) for row in rows] == [(r["job_id"], "RUNNING") for r in (first, second)]
    assert site.run("cancel", first["job_id"]).returncode == 0
    assert cluster_dbd.state(other_id) == "RUNNING"
    assert site.run("cancel", second["job_id"]).returncode == 0
    assert cluster_dbd.state(other_id) == "RUNNING"
    cluster_dbd.heal()


def test_all_ranks_from_another_shell(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "two", "steps=20", "pause=0.2")
    attached = site.start("attach", record["job_id"])
    followed = site.run("logs", record["job_id"], "--rank", "all", "--follow")
    assert followed.returncode == 0, followed.stderr
    for rank in (0, 1):
        assert followed.stdout.count(f"[{rank}] x | INFO") == 20
    out, err = attached.communicate(timeout=LIMIT_S)
    assert (attached.returncode, out.count("x | INFO")) == (0, 20), err


# Submissions


LOST = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


def test_a_lost_answer_is_looked_up(site: Checkout, cluster: Cluster) -> None:
    script = f"""case "$*" in *--test-only* | --help) exec "$REAL" "$@";; esac
        "$REAL" "$@" > "$0.id"; echo >> "$0.calls"; echo "{LOST}" >&2; exit 1"""
    fake(site, "sbatch", script)
    record = site.json("stub-one", "--batch", "one")
    folder = site.root.parent / "bin"
    assert record["handle"]["slurm_id"] == (folder / "sbatch.id").read_text().strip()
    assert (folder / "sbatch.calls").read_text() == "\n"
    assert site.run("attach", "last").returncode == 0


def test_a_lost_question_is_an_error(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", f'echo "{LOST}" >&2\nexit 1')
    done = site.run("stub-one", "--batch", "one")
    assert done.returncode == 4
    assert "did not submit" in done.stderr
    assert "Traceback" not in done.stderr
    assert site.json("jobs") == []


def test_several_launchers_at_once(site: Checkout, cluster: Cluster) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda n: site.run("stub-one", "--batch", "one", f"value={n}", "--json"), range(3)))
    ids = {json.loads(one.stdout)["job_id"] for one in done}
    assert len(ids) == 3
    assert {row["job_id"] for row in site.json("jobs")} == ids


LOOP = """
import sys
sys.path.insert(0, {root!r})
from automodel_launch import workspace
from automodel_launch.config import configs, overrides
from automodel_launch.launch import planning
from automodel_launch.launch.submit import submit
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles
here = workspace.find(None)
recipe = recipes.find(here, "stub-one", also=[])
env_file = profiles.load(here.env_file, "one")
for value in range({count}):
    layered = configs.load(recipe, None, [overrides.parse(f"value={{value}}"), overrides.parse("pause=60")], [])
    plan = planning.make(here, env_file, "one", recipe, layered, mode="batch", name=None, fresh=False)
    print(submit(plan, here)[1].handle["slurm_id"])
"""


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_many_detached_jobs_in_one_loop(site: Checkout, cluster: Cluster, count: int) -> None:
    for node in range(1, 5):  # they need not run, only wait
        cluster.check("scontrol", "update", f"nodename=c{node}", "state=drain", "reason=test")
    try:
        loop = LOOP.format(root=str(site.root), count=count)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", loop], env=site.environ, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr
        submitted = time.monotonic() - began
        ids = done.stdout.split()
        assert len(set(ids)) == count
        began = time.monotonic()
        rows = site.json("jobs")
        listed = time.monotonic() - began
        print(f"{count} jobs: submitted in {submitted:.1f} s, listed in {listed:.1f} s")
        assert {row["handle"]["slurm_id"] for row in rows} == set(ids)
        assert {row["state"] for row in rows} == {"PENDING"}
        assert len({row["job_id"] for row in rows}) == count
    finally:
        cluster.run("scancel", "-u", "root")
        for node in range(1, 5):
            cluster.check("scontrol", "update", f"nodename=c{node}", "state=resume")


def test_ctrl_c_while_slurm_is_asked(site: Checkout, cluster: Cluster) -> None:
    """Ctrl-C goes to all of the terminal's processes: a question half-way must not be cut off, nor a job cancelled."""
    run = Attached(site, "stub-one", "--run", "one", "steps=9000", "pause=0.2")
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    assert cluster.state(int(run.slurm_id)) == "RUNNING"


def test_the_record_names_its_cluster(site: Checkout, cluster: Cluster) -> None:
    record: dict[str, Any] = site.json("stub-one", "--batch", "one")
    assert record["handle"]["slurm_conf"] == cluster.env["SLURM_CONF"]
    bare = {name: value for name, value in site.environ.items() if name != "SLURM_CONF"}
    site.environ = bare  # another shell
    assert site.run("attach", "last").returncode == 0
