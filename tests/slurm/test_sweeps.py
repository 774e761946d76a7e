"""Sweeps on a real Slurm: one array, never more at once than was asked for, and no point twice."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_submissions import SLOW_AFTER
from tests.slurm.test_truth import fake, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]
SWEEP = ("stub-one", "--batch", "one", "--no-rehearse", "--name", "twelve", "--at-most", "3")


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    yield make_site(tmp_path, cluster.env)
    heal(cluster)


def _points(path: Path) -> tuple[str, str]:
    """Eleven that end by themselves, of which one is killed before it does, and one that fails."""
    entries = [f"{{value: {number}, steps: {600 if number == 4 else 3}, pause: 0.3}}" for number in range(11)]
    entries.append("{value: 11, fail_rank: 0, code: 7}")
    path.write_text("list:\n" + "".join(f"- {entry}\n" for entry in entries))
    return ("--sweep-file", str(path))


def test_twelve_points_three_at_once(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    command = (*SWEEP, *_points(tmp_path / "points.yaml"))
    shown = site.json(*command, "--dry-run")
    assert "#SBATCH --array=0-11%3\n" in shown["script"]
    made = site.json(*command)
    assert made["plan_hash"] == shown["plan_hash"]
    (array,) = {job["slurm_id"].partition("_")[0] for job in made["jobs"]}
    submitted = tmp_path / "jobs" / "twelve.1" / "script"
    assert submitted.read_text() == shown["script"]
    again = site.json(*command)  # what a launcher that was killed behind sbatch leaves to be done
    assert again["jobs"] == [] or {job["slurm_id"] for job in again["jobs"]}.isdisjoint(
        job["slurm_id"] for job in made["jobs"]
    )
    most, killed, end = 0, False, time.monotonic() + 120
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
    points: list[dict[str, Any]] = site.json("status", "twelve")["points"]
    states = [point["state"] for point in points]
    assert states == ["COMPLETED"] * 4 + ["CANCELLED"] + ["COMPLETED"] * 6 + ["FAILED"], points
    assert points[11]["code"] == 7
    assert re.search(r"twelve: 10 COMPLETED, 1 CANCELLED, 1 FAILED", site.run("status", "twelve").stdout)


def _slow(count: int) -> tuple[str, ...]:
    values = ",".join(map(str, range(count)))
    return ("stub-one", "--batch", "one", "--no-rehearse", "--sweep", f"value={values}", "steps=600", "pause=0.3")


def test_a_launcher_killed_behind_sbatch(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """The same command again finds every point in the queue, and submits none twice."""
    fake(site, "sbatch", SLOW_AFTER)
    command = _slow(4)
    launcher = subprocess.Popen(
        site.command(*command), cwd=site.root, env=site.environ, stdout=-1, stderr=-1, start_new_session=True
    )
    mark = tmp_path / "bin" / "sbatch.done"
    wait_until(mark.exists, 60, str(mark))
    launcher.kill()
    launcher.communicate()
    (tmp_path / "bin" / "sbatch").unlink()
    again = site.json(*command)
    assert again["jobs"] == []
    queued = cluster.check("squeue", "-h", "-r", "-o", "%F_%K").split()
    points = site.json("status", again["sweep"])["points"]
    assert sorted(point["slurm_id"] for point in points) == sorted(queued)
    assert len(queued) == 4
    cluster.check("scancel", queued[0].partition("_")[0])


def test_a_sweep_is_cancelled_also_where_it_waits(site: Checkout, cluster: Cluster) -> None:
    made = site.json(*_slow(4), "--at-most", "2")
    assert len(made["jobs"]) == 4
    assert site.run("cancel", made["sweep"]).returncode == 0
    wait_until(lambda: not cluster.check("squeue", "-h"), 40, "an empty queue")
    states = [point["state"] for point in site.json("status", made["sweep"])["points"]]
    assert states == ["CANCELLED"] * 4
