"""`--after JOB` on a real Slurm: a job waits for the end of a chain, whoever is there to see it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.sshd import SshServer
from tests.slurm.test_chain import Run
from tests.slurm.test_ssh import SSH, client
from tests.slurm.test_submissions import SLOW_AFTER, let_go
from tests.slurm.test_truth import ENV, fake, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """Profiles `chain` (attempts until the run is finished) and `one`."""
    cluster.empty()
    site = learner.site(tmp_path, cluster)
    one = ENV.partition("[two]")[0].format(python=sys.executable, root=tmp_path / "jobs", more="")
    with (site.root / "env.toml").open("a") as file:
        file.write(one)
    yield site
    heal(cluster)


def _wait(site: Checkout, job: dict[str, Any], *states: str) -> dict[str, Any]:
    """Without a look at it, which would do what the agents are to do: by the job's own record of its end."""
    path = Path(job["job_dir"], "exit.json")
    wait_until(lambda: path.exists() and json.loads(path.read_text())["state"] in states, 120, f"{path}: {states}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _reason(cluster: Cluster, job: dict[str, Any]) -> list[str]:
    return cluster.check("squeue", "-h", f"--name={job['job_id']}", "-o", "%T %r").split("\n")[:-1]


def test_it_waits_for_the_end_of_a_chain(site: Checkout, cluster: Cluster) -> None:
    """Two attempts, slurmctld away at their end, and no launcher: who waits, and who waits for that, begin in turn."""
    run = Run(site, "steps=40", "hold=7")
    after = site.json("stub-one", "--batch", "one", "--after", run.id)
    third = site.json("stub-one", "--batch", "one", "value=3", "--after", after["job_id"])
    run.reach(0, 7)
    step = f"waiting for {run.id} (RUNNING, step "  # with the agent's next heartbeat
    wait_until(lambda: step in site.run("status", after["job_id"]).stdout, LIMIT_S, step)
    run.kill_rank(1)
    run.go(30)
    run.reach(1, 10)
    assert _reason(cluster, after) == ["PENDING JobHeldUser"]
    refused = site.run("resume", after["job_id"])
    assert (refused.returncode, "is not over" in refused.stderr) == (2, True)
    assert f"waiting for {after['job_id']} (PENDING)" in site.run("jobs").stdout
    run.reach(1, 30)
    cluster.stop_ctld()
    run.go()
    wait_until(lambda: run.exit().get("state") == "COMPLETED", 120, "the end of the chain")
    time.sleep(3)
    cluster.start_ctld()
    assert _wait(site, third, "COMPLETED")
    assert run.states() == ["FAILED", "COMPLETED"]
    began, ended = (json.loads((Path(after["run_dir"]) / "history.jsonl").read_text().splitlines()[n]) for n in (0, 1))
    assert run.history("ended")[-1]["time"] < began["time"]
    assert ended["time"] < json.loads((Path(third["run_dir"]) / "history.jsonl").read_text().splitlines()[0])["time"]
    assert list(run.run_dir.glob("after/*")) == []
    at_once = site.json("stub-one", "--batch", "one", "value=4", "--after", run.id)
    assert "--hold" not in json.loads(Path(at_once["job_dir"], "plan.json").read_text())["submit"]
    assert _wait(site, at_once, "COMPLETED")


@pytest.mark.slow
def test_it_is_cancelled_with_what_it_waits_for(site: Checkout, cluster: Cluster) -> None:
    """A failure of the chain; a pause and another job of the run; a cancellation before anything has begun."""
    run = Run(site, "fail_at=3")
    after = site.json("stub-one", "--batch", "one", "--after", run.id)
    third = site.json("stub-one", "--batch", "one", "value=3", "--after", after["job_id"])
    assert _wait(site, third, "CANCELLED")["error"] == f"it was to follow {after['job_id']} (CANCELLED)"
    assert "failed twice in the same way" in _wait(site, after, "CANCELLED")["error"]
    wait_until(lambda: not _reason(cluster, after) + _reason(cluster, third), LIMIT_S, "an empty queue")
    status = site.json("status", after["job_id"])
    assert (status["state"], f"it was to follow {run.id} (FAILED" in status["error"]) == ("CANCELLED", True)
    refused = site.run("stub-one", "--batch", "one", "value=5", "--after", run.id, "--force")
    assert (refused.returncode, "after-failed" in refused.stderr, "resume" in refused.stderr) == (3, True, True)
    refused = site.run("resume", after["job_id"])
    assert (refused.returncode, "has not completed" in refused.stderr) == (3, True), refused.stderr

    paused = Run(site, "steps=60")
    waits = site.json("stub-one", "--batch", "one", "value=6", "--after", paused.id)
    paused.reach(0, 7)
    assert site.run("pause", paused.id).returncode == 0
    assert f"waiting for {paused.id} (paused" in site.run("status", waits["job_id"]).stdout
    assert _reason(cluster, waits) == ["PENDING JobHeldUser"]
    (paused.run_dir / "stop").unlink()
    other = site.json("learner", "--batch", "chain", "steps=60")
    assert other["run_name"] == paused.run_dir.name and other["job_id"] != paused.id
    assert _wait(site, waits, "COMPLETED")

    first = site.json("learner", "--batch", "chain", "steps=11", "run.env.additional_parameters={begin: now+1hour}")
    held = site.json("stub-one", "--batch", "one", "value=7", "--after", first["job_id"])
    assert site.run("cancel", first["job_id"]).returncode == 0
    assert site.json("status", held["job_id"])["state"] == "CANCELLED"
    assert _reason(cluster, held) == []


@pytest.mark.slow
def test_let_go_by_hand_and_launchers_that_are_killed(site: Checkout, cluster: Cluster) -> None:
    """Released too early it ends before it begins; behind sbatch nothing is needed of its launcher."""
    run = Run(site, "steps=60")
    early = site.json("stub-one", "--batch", "one", "--after", run.id)
    fake(site, "sbatch", SLOW_AFTER)
    words = ("stub-one", "--batch", "one", "value=8", "--name", "orphan", "--after", run.id)
    launcher = site.start(*words, start_new_session=True)
    wait_until((site.root.parent / "bin" / "sbatch.done").exists, LIMIT_S, "sbatch")
    launcher.kill()
    launcher.wait()
    let_go(site)
    cluster.check("scontrol", "release", early["handle"]["slurm_id"])
    run.reach(0, 7)
    orphan = {name: str(site.root.parent / "jobs" / "orphan.1") for name in ("job_dir",)}
    assert not Path(orphan["job_dir"], "exit.json").exists()
    assert _wait(site, orphan, "COMPLETED")
    assert run.exit()["state"] == "COMPLETED"
    assert _wait(site, early, "COMPLETED", "CANCELLED")  # it waits a minute for records that a file system shows late


@pytest.mark.slow
def test_from_a_laptop(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> None:
    """Over SSH; where no agent could do it, a look at the waiting job does. A pipeline is in the queue at once."""
    cluster.empty()
    site = client(make_site(tmp_path, {}, SSH), login_node)
    try:
        later = "run.env.additional_parameters={begin: now+1hour}"
        first = site.json("stub-one", "--batch", "one", later)
        after = site.json("stub-one", "--batch", "two", "value=2", "--after", first["job_id"])
        third = site.json("stub-one", "--batch", "one", "value=3", "--after", after["job_id"])
        assert f"waiting for {first['job_id']} (" in site.run("status", after["job_id"]).stdout
        cluster.check("scancel", first["handle"]["slurm_id"])
        wait_until(lambda: site.json("status", first["job_id"])["state"] == "CANCELLED", LIMIT_S, first["job_id"])
        assert site.json("status", third["job_id"])["state"] in ("PENDING", "CANCELLED")
        states = {row["job_id"]: row["state"] for row in site.json("jobs")}
        assert states[after["job_id"]] == "CANCELLED"
        assert site.json("status", third["job_id"])["state"] == "CANCELLED"
        assert cluster.check("squeue", "-h").strip() == ""
        (site.root / "two.yaml").write_text(
            "steps:\n  a: {recipe: stub-one, overrides: {value: 4}}\n"
            '  b: {recipe: stub-one, overrides: {value: "${steps.a.run_dir}"}}\n'
        )
        plan = site.json("pipeline", "two.yaml", "--batch", "one", "--dry-run")
        assert ["--hold" in step["plan"]["submit"] for step in plan["steps"]] == [False, True]
        done = site.json("pipeline", "two.yaml", "--batch", "one")
        last = next(row for row in site.json("jobs") if row["job_id"] == done["steps"][1]["job_id"])
        assert _wait(site, last, "COMPLETED")
        assert done["plan_hash"] == plan["plan_hash"]
        again = site.json("pipeline", "two.yaml", "--batch", "one", "--dry-run")
        assert [step["state"] for step in again["steps"]] == ["FINISHED", "FINISHED"]
    finally:
        heal(cluster)
