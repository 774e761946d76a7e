"""Sweeps on a real Slurm: one array, never more at once than was asked for, no point twice, none lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.conftest import LIMIT_S, Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.sshd import SshServer
from tests.slurm.test_ssh import SSH, client, connections
from tests.slurm.test_submissions import SLOW_AFTER, SLOW_BEFORE, TEST_ONLY, let_go
from tests.slurm.test_truth import LOST, fake, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]
PLAIN = ("stub-one", "--batch", "one", "--no-rehearse")


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    cluster.empty()
    yield make_site(tmp_path, cluster.env)
    heal(cluster)


def _points(path: Path) -> tuple[str, str]:
    """Eleven that end by themselves, of which one is killed before it does, and one that fails."""
    entries = [f"{{value: {number}, steps: {600 if number == 4 else 3}, pause: 0.3}}" for number in range(11)]
    entries.append("{value: 11, fail_rank: 0, code: 7}")
    path.write_text("list:\n" + "".join(f"- {entry}\n" for entry in entries))
    return ("--sweep-file", str(path))


def _values(count: int, *more: str) -> tuple[str, ...]:
    """Points that run until they are stopped."""
    values = ",".join(map(str, range(count)))
    return (*PLAIN, "--sweep", f"value={values}", "steps=9000", "pause=0.3", *more)


def _queued(cluster: Cluster) -> list[str]:
    """Those that wait or run; one that is COMPLETING has ended."""
    rows = [line.split() for line in cluster.check("squeue", "-h", "-r", "-o", "%i %T").splitlines()]
    return sorted(slurm_id for slurm_id, state in rows if state != "COMPLETING")


def _rows(site: Checkout, sweep: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = site.json("status", sweep)["points"]
    return rows


def _states(site: Checkout, sweep: str) -> list[str]:
    return [row["state"] for row in _rows(site, sweep)]


def _start(site: Checkout, *args: str) -> subprocess.Popen[str] | warm.Process:
    return site.start(*args, start_new_session=True)


def _as_shown(shown: dict[str, Any], made: dict[str, Any], jobs: Path, cluster: Cluster) -> None:
    """What Slurm has, and what its tasks start, is what the dry run showed, to the byte."""
    (array,) = {job["slurm_id"].partition("_")[0] for job in made["jobs"]}
    assert made["plan_hash"] == shown["plan_hash"]
    assert Path(shown["directory"], "script").read_text() == shown["script"]
    assert cluster.check("scontrol", "write", "batch_script", array, "-").rstrip("\n") == shown["script"].rstrip("\n")
    for job, point in zip(made["jobs"], shown["points"], strict=True):
        assert job["job_id"] == point["plan"]["job_id"]
        assert (jobs / job["job_id"] / "script").read_text() == point["plan"]["script"]
    listed = Path(shown["directory"], "jobs").read_text().splitlines()
    assert listed == [str(jobs / job["job_id"]) for job in made["jobs"]]


def test_a_nemo_run_that_cannot_be_imported_leaves_no_sweep(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "broken" / "fiddle").mkdir(parents=True)
    (tmp_path / "broken" / "fiddle" / "__init__.py").write_text("raise ImportError('no such name')\n")
    site.environ["PYTHONPATH"] = str(tmp_path / "broken")
    done = site.run(*_values(2))
    assert (done.returncode, _queued(cluster)) == (3, []), done.stderr
    assert "NeMo-Run cannot be imported" in done.stderr and "Traceback" not in done.stderr
    assert site.json("jobs") == [] and not list(tmp_path.glob("jobs/*"))


def test_twelve_points_three_at_once(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    command = (*PLAIN, "--name", "twelve", "--at-most", "3", *_points(tmp_path / "points.yaml"))
    shown = site.json(*command, "--dry-run")
    assert "#SBATCH --array=0-11%3\n" in shown["script"]
    made = site.json(*command)
    _as_shown(shown, made, tmp_path / "jobs", cluster)
    array = made["jobs"][0]["slurm_id"].partition("_")[0]
    again = site.json(*command)  # while the first ones end: whatever is missing by now, and it is in no queue
    assert [job["job_id"] for job in again["jobs"]] == [f"{job['job_id'][:-2]}.2" for job in again["jobs"]]
    assert len(again["jobs"]) + len(again["left_out"]) == 12 and len(again["left_out"]) >= 11
    tasks = [job["slurm_id"].partition("_") for job in again["jobs"]]  # the one that fails, if that was it
    assert all(job != array and task == "0" for job, _, task in tasks), tasks
    most, killed, end = 0, False, time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        rows = [line.split() for line in cluster.check("squeue", "-h", "-r", "-o", "%F %K %T").splitlines()]
        ours = [(task, state) for job, task, state in rows if job == array]
        running = [task for task, state in ours if state == "RUNNING"]
        most = max(most, len(running))
        if "4" in running and not killed:
            cluster.check("scancel", f"{array}_4")
            killed = True
        if not ours:
            break
        time.sleep(0.2)
    assert (most, killed) == (3, True)
    points = _rows(site, "twelve")
    states = [point["state"] for point in points]
    assert states == ["COMPLETED"] * 4 + ["CANCELLED"] + ["COMPLETED"] * 6 + ["FAILED"], points
    assert points[11]["code"] == 7
    assert re.search(r"twelve: 10 COMPLETED, 1 CANCELLED, 1 FAILED", site.run("status", "twelve").stdout)
    for name in ("twelve.12", points[11]["job_id"], points[11]["slurm_id"]):
        assert site.json("status", name)["code"] == 7
    for name, said in (("twelve.13", "they are 1 to 12"), ("twelve.x", "no job"), ("twelve.0", "they are 1 to 12")):
        refused = site.run("status", name)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("script", "mark"),
    [
        (SLOW_AFTER, "sbatch.done"),
        pytest.param(SLOW_BEFORE, "sbatch.begun", marks=pytest.mark.slow),
        pytest.param(TEST_ONLY + 'touch "$0.begun"; sleep 2; kill -KILL 0', "sbatch.begun", marks=pytest.mark.slow),
    ],
    ids=["behind sbatch", "before sbatch, which goes on", "with sbatch"],
)
def test_a_killed_launcher(site: Checkout, cluster: Cluster, script: str, mark: str) -> None:
    """The same command again, at once and later: every point is in the queue once."""
    fake(site, "sbatch", script)
    command = _values(4, "--at-most", "2")
    launcher = _start(site, *command)
    wait_until((site.root.parent / "bin" / mark).exists, LIMIT_S, mark)
    launcher.kill()
    launcher.communicate()
    (site.root.parent / "bin" / "sbatch").unlink()
    at_once = site.json(*command)
    let_go(site)
    assert len(at_once["jobs"]) + len(at_once["left_out"]) == 4

    def complete() -> bool:
        site.json(*command)  # while sbatch is at it nothing is done, and when it has died all is
        return len(_queued(cluster)) == 4

    wait_until(complete, LIMIT_S, "all points in the queue")
    after = site.json(*command)
    assert after["jobs"] == [] and len(after["left_out"]) == 4
    rows = _rows(site, after["sweep"])
    assert sorted(row["slurm_id"] for row in rows) == _queued(cluster) and len(rows) == 4
    assert {row["state"] for row in rows} <= {"PENDING", "RUNNING"}


@pytest.mark.slow
def test_launchers_killed_at_any_moment(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """Killed while it reserves, writes or submits, again and again; then let through: each point once."""
    command = _values(16, "--name", "many")
    for number in range(8):
        launcher = _start(site, *command)
        jobs = tmp_path / "jobs"

        def made() -> int:
            return len(list(jobs.glob("many-*.*")))  # noqa: B023

        before, end = made(), time.monotonic() + 60
        while launcher.poll() is None and made() <= before + 2 * number and time.monotonic() < end:
            time.sleep(0.005)
        launcher.kill()
        launcher.communicate()
    site.json(*command)
    assert len(site.json(*command)["left_out"]) == 16
    rows = _rows(site, "many")
    wait_until(lambda: len(_queued(cluster)) == 16, LIMIT_S, f"16 of {_queued(cluster)}")
    assert sorted(row["slurm_id"] for row in rows) == _queued(cluster)
    begun = [json.loads(line) for file in jobs.glob("many-*/history.jsonl") for line in file.read_text().splitlines()]
    runs = [row["job_id"].rpartition(".")[0] for row in begun if row["event"] == "begun"]
    assert len(runs) == len(set(runs))


@pytest.mark.slow
def test_an_answer_that_is_lost(site: Checkout, cluster: Cluster) -> None:
    fake(site, "sbatch", TEST_ONLY + f'"$REAL" "$@" > /dev/null; echo "{LOST}" >&2; exit 1')
    made = site.json(*_values(3))
    assert sorted(job["slurm_id"] for job in made["jobs"]) == _queued(cluster)
    fake(site, "sbatch", TEST_ONLY + f'echo "{LOST}" >&2; exit 1')
    refused = site.run(*_values(2, "code=1"))
    assert (refused.returncode, "did not submit" in refused.stderr) == (4, True), refused.stderr
    assert len(site.json("jobs")) == 3


def test_a_refused_sweep_leaves_nothing(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """Whether sbatch refuses or a directory cannot be written half-way; then the same command submits all."""
    command, jobs = _values(3, "--name", "three"), tmp_path / "jobs"
    shown = site.json(*command, "--dry-run")
    fake(site, "sbatch", TEST_ONLY + 'echo "sbatch: error: invalid account" >&2; exit 1')
    refused = site.run(*command)
    assert (refused.returncode, "invalid account" in refused.stderr) == (4, True), refused.stderr
    (tmp_path / "bin" / "sbatch").unlink()
    second = jobs / shown["points"][1]["plan"]["run_name"]
    second.rename(tmp_path / "aside")
    second.write_text("a file where the run's directory belongs")
    refused = site.run(*command)
    assert (refused.returncode, str(second) in refused.stderr) == (4, True), refused.stderr
    second.unlink()
    assert site.json("jobs") == []
    assert [path.name for path in jobs.glob("*.*")] == []
    assert {row["state"] for row in _rows(site, "three")} == {"NOT_SUBMITTED"}
    assert len(site.json(*command)["jobs"]) == 3
    assert site.run("cancel", "three").returncode == 0
    assert _states(site, "three") == ["CANCELLED"] * 3 and _queued(cluster) == []


@pytest.mark.slow
def test_points_are_ordinary_runs(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """Cancel, resume and launch one of them; one that waits, and one whose node goes down."""
    made = site.json(*_values(4, "--name", "four", "--at-most", "2"))
    array = made["jobs"][0]["slurm_id"].partition("_")[0]
    wait_until(lambda: _states(site, "four") == ["RUNNING", "RUNNING", "PENDING", "PENDING"], LIMIT_S, "two that run")
    assert site.run("cancel", "four.4").returncode == 0  # pending, as `ARRAY_[2-3%2]`
    assert _queued(cluster) == [f"{array}_{number}" for number in range(3)]
    assert _states(site, "four")[3] == "CANCELLED"
    assert site.run("cancel", "four.1").returncode == 0
    wait_until(lambda: _states(site, "four")[:3] == ["CANCELLED", "RUNNING", "RUNNING"], LIMIT_S, "the third one")
    resumed = site.json("resume", "four.1")
    assert resumed["handle"]["slurm_id"].isdigit() and "array" not in resumed["handle"]
    wait_until(lambda: _states(site, "four")[0] == "RUNNING", LIMIT_S, "the resumed one")
    assert site.run("pause", "four.1").returncode == 0
    assert site.run("resume", "four.1").returncode == 0
    node = int(cluster.check("squeue", "-h", "-j", f"{array}_1", "-o", "%N").strip()[1:])
    cluster.declare_down(node)  # Slurm may requeue a job without a chain, so it waits again
    wait_until(lambda: _states(site, "four")[1] == "PENDING", LIMIT_S, "the requeued one")
    assert _rows(site, "four")[1]["slurm_id"] == f"{array}_1"
    cluster.run("scontrol", "update", f"nodename=c{node}", "state=resume")
    name = made["jobs"][3]["job_id"].rpartition(".")[0]
    alone = site.json(*PLAIN, "--name", name, "value=3", "steps=9000", "pause=0.3")
    assert alone["job_id"] == f"{name}.2"
    assert _rows(site, "four")[3]["job_id"] == f"{name}.2"


@pytest.mark.slow
def test_what_slurm_has_forgotten(site: Checkout, cluster: Cluster) -> None:
    """slurmctld drops jobs after MinJobAge: each point's own record tells, and none is submitted again that ended."""
    site.json(*PLAIN, "--name", "gone", "--sweep", "code=0,7", "fail_rank=0")
    wait_until(lambda: not _queued(cluster), LIMIT_S, "an empty queue")
    for name in ("squeue", "scontrol"):
        fake(site, name, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert [(row["state"], row["code"]) for row in _rows(site, "gone")] == [("COMPLETED", 0), ("FAILED", 7)]


@pytest.mark.slow
def test_failures_stop_a_sweep(site: Checkout, cluster: Cluster) -> None:
    more = ("fail_rank=0", "--at-most", "1", "--stop-after-failures", "2", "--name", "stops")
    site.json(*PLAIN, "--sweep", "value=0,1,2,3", "--sweep", "code=0,7", *more)
    wait_until(lambda: not _queued(cluster), 120, "an empty queue")
    assert _states(site, "stops") == ["COMPLETED", "FAILED"] * 2 + ["CANCELLED"] * 4


@pytest.mark.slow
def test_jobs_of_their_own(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """What sbatch is told differs, so that there is no array: the limit is kept by dependencies."""
    command = (*_values(2, "--name", "own", "--at-most", "2"), "--sweep", "run.env.time=00:05:00,00:06:00")
    twice = site.run(*command)  # a time is no part of what is trained: two points are one run
    assert (twice.returncode, "two points are one run" in twice.stderr) == (2, True), twice.stderr
    entries = [f"{{value: {number}, run.env.time: '00:0{5 + number}:00'}}" for number in range(4)]
    (tmp_path / "own.yaml").write_text("list:\n" + "".join(f"- {entry}\n" for entry in entries))
    command = (*PLAIN, "--name", "own", "--at-most", "2", "--sweep-file", str(tmp_path / "own.yaml"), "steps=600")
    command = (*command, "pause=0.3")
    refused = site.run(*command, "--stop-after-failures", "1")
    assert (refused.returncode, "one Slurm job array" in refused.stderr) == (2, True), refused.stderr
    fake(site, "sbatch", TEST_ONLY + '"$REAL" "$@"; code=$?; echo >> "$0.calls"; sleep 1; exit $code')
    launcher = _start(site, *command)
    wait_until((tmp_path / "bin" / "sbatch.calls").exists, LIMIT_S, "the first sbatch")
    launcher.kill()  # what it has started goes on with the others
    launcher.communicate()
    (tmp_path / "bin" / "sbatch").unlink()
    assert len(site.json(*command)["left_out"]) == 4
    wait_until(lambda: len(_queued(cluster)) == 4, LIMIT_S, "four jobs")
    rows = _rows(site, "own")
    assert sorted(row["slurm_id"] for row in rows) == _queued(cluster)
    assert sorted(row["state"] for row in rows) == ["PENDING"] * 2 + ["RUNNING"] * 2
    assert site.run("cancel", "own.1").returncode == 0
    wait_until(lambda: [row["state"] for row in _rows(site, "own")].count("RUNNING") == 2, LIMIT_S, "the next one")


@pytest.mark.slow
def test_a_sweep_is_paused_and_goes_on(site: Checkout, cluster: Cluster) -> None:
    site.json(*_values(3, "--name", "held", "--at-most", "2"))
    wait_until(lambda: "RUNNING" in _states(site, "held"), LIMIT_S, "one that runs")
    assert site.run("pause", "held").returncode == 0
    assert _states(site, "held") == ["CANCELLED"] * 3 and _queued(cluster) == []
    resumed = site.run("resume", "held")
    assert (resumed.returncode, "1 more wait" in resumed.stderr) == (0, True), resumed.stderr
    assert len(_queued(cluster)) == 2
    assert site.run("cancel", "held").returncode == 0
    refused = site.run("cancel", "held")
    assert (refused.returncode, "no point of held" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_a_sweep_that_grows_keeps_its_limit(site: Checkout, cluster: Cluster) -> None:
    def grow(values: str, *more: str) -> int:
        command = (*PLAIN, "--name", "grows", "--sweep", f"value={values}", "steps=9000", "pause=0.3", *more)
        return len(site.json(*command, "--at-most", "2")["jobs"])

    assert (grow("0,1"), grow("2,3,4"), grow("1,2")) == (2, 3, 0)
    wait_until(lambda: _states(site, "grows") == ["RUNNING"] * 2 + ["PENDING"] * 3, LIMIT_S, "two that run")
    time.sleep(2)
    assert _states(site, "grows") == ["RUNNING"] * 2 + ["PENDING"] * 3
    assert site.run("cancel", "grows.1").returncode == 0
    assert site.run("cancel", "grows.2").returncode == 0
    wait_until(lambda: _states(site, "grows")[2:].count("RUNNING") == 2, LIMIT_S, "two others that run")


@pytest.mark.slow
def test_never_more_at_once_as_slurm_has_accounted(tmp_path: Path, cluster_dbd: Cluster) -> None:
    site = make_site(tmp_path, cluster_dbd.env)
    try:
        made = site.json(*PLAIN, "--name", "twelve", "--at-most", "3", *_points(tmp_path / "points.yaml"))
        array = made["jobs"][0]["slurm_id"].partition("_")[0]
        fifth = ("squeue", "-h", "-j", f"{array}_4", "-o", "%T")
        wait_until(lambda: "RUNNING" in cluster_dbd.check(*fifth), LIMIT_S, "the fifth")
        cluster_dbd.check("scancel", f"{array}_4")
        wait_until(lambda: not _queued(cluster_dbd), 120, "an empty queue")
        listed = cluster_dbd.check("sacct", "-n", "-X", "-P", "-j", array, "-o", "JobID,Start,End").splitlines()
        spans = [(start, end) for _, start, end in (line.split("|") for line in listed)]
        assert len(spans) == 12
        assert max(sum(start <= at < end for start, end in spans) for at, _ in spans) == 3
        states = [row["state"] for row in site.json("status", "twelve")["points"]]
        assert states == ["COMPLETED"] * 4 + ["CANCELLED"] + ["COMPLETED"] * 6 + ["FAILED"]
    finally:
        heal(cluster_dbd)


MANY = """
from automodel_launch import api_sets
from automodel_launch.executors.slurm.together import TOGETHER
from automodel_launch.launch import sweeping
made = api_sets.sweep("stub-one", {"grid": {"value": [1, 2]}}, profile="one", offline=True).plans
for count in (1, 600):
    print([one.message for one in TOGETHER.findings(made.plans * count, sweeping.order_of(made))])
"""


def test_more_points_than_the_cluster_takes_are_found_before_anything_is_written(site: Checkout) -> None:
    environ = {**site.environ, "PYTHONPATH": str(site.root)}
    done = subprocess.run([sys.executable, "-c", MANY], cwd=site.root, env=environ, capture_output=True, text=True)
    said = "['this machine: sbatch refuses an array of 1200 tasks: Invalid job array specification']"
    assert done.stdout.splitlines() == ["[]", said], done.stderr


@pytest.mark.slow
def test_over_ssh(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> None:
    """One connection; a launcher that is killed when Slurm has the points, and one whose sweep is refused."""
    cluster.empty()
    laptop = client(make_site(tmp_path, {}, SSH), login_node)
    try:
        command = _values(6, "--name", "far", "--at-most", "2")
        shown = laptop.json(*command, "--dry-run")
        launcher = _start(laptop, *command)
        wait_until(lambda: len(_queued(cluster)) == 6, 120, "six points")
        launcher.kill()
        launcher.communicate()
        array = _queued(cluster)[0].partition("_")[0]
        written = cluster.check("scontrol", "write", "batch_script", array, "-")
        assert written.rstrip("\n") == shown["script"].rstrip("\n")
        assert laptop.json(*command)["jobs"] == []
        rows = _rows(laptop, "far")
        assert sorted(row["slurm_id"] for row in rows) == _queued(cluster)
        wait_until(lambda: _states(laptop, "far") == ["RUNNING"] * 2 + ["PENDING"] * 4, LIMIT_S, "two that run")
        second = _rows(laptop, "far")[1]
        assert laptop.run("cancel", "far.2").returncode == 0
        assert laptop.run("logs", "far.2").returncode == 0
        assert laptop.json("compare", "far")["by"] == "loss"
        assert laptop.run("cancel", "far").returncode == 0
        assert _states(laptop, "far") == ["CANCELLED"] * 6 and _queued(cluster) == []
        (tmp_path / "jobs" / second["run_name"]).rename(tmp_path / "aside")
        (tmp_path / "jobs" / second["run_name"]).write_text("a file where the run's directory belongs")
        before = sorted(path.name for path in (tmp_path / "jobs").glob("*.*"))
        refused = laptop.run(*command)
        assert (refused.returncode, "Traceback" in refused.stderr) == (4, False), refused.stderr
        assert sorted(path.name for path in (tmp_path / "jobs").glob("*.*")) == before
        assert connections(login_node) == 1
    finally:
        heal(cluster)


def test_two_launchers_at_once_keep_one_limit(site: Checkout, cluster: Cluster) -> None:
    command = _values(3, "--name", "both", "--at-most", "1")
    first, second = (_start(site, *command) for _ in range(2))
    said = "".join("".join(launcher.communicate(timeout=LIMIT_S)) for launcher in (first, second))
    assert (first.returncode, second.returncode) == (0, 0), said
    assert len(_queued(cluster)) == 3 and "3 of 3 points submitted" in said and "0 of 3" in said, said
