"""Spare nodes: a node that is lost is replaced within the job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    yield learner.site(tmp_path, cluster, "spares = 1")
    heal(cluster)


def keepers(run: Run) -> str:
    """What the keepers have said, for who looks at a failure."""
    return "".join(f"{path.name}\n{path.read_text()}" for path in sorted(run.dir.glob("logs/keeper-*.log")))


def test_a_node_without_power_is_replaced_within_the_job(site: Checkout, cluster: Cluster) -> None:
    """The run goes on from its last checkpoint on the spare, in the same Slurm job, with the same losses."""
    run = Run(site, "steps=40", "hold=12")
    run.reach(0, 12)
    slurm_id = run.attempt(0)
    lost = run.node(1)["host"]
    cluster.kill_node(int(lost[1:]))
    run.go()
    run.reach(1, 20)
    assert run.attempt(1) == slurm_id
    said = run.end()
    run.check(most_lost=5)
    assert run.states() == ["NODE_FAIL", "COMPLETED"], keepers(run)
    first, second = run.history("begun")
    assert (first["nodes"], first["spares"]) == (["c1", "c2"], ["c3"])
    assert (second["nodes"], second["spares"], second["replaces"]) == (["c1", "c3"], [], [lost])
    assert "c3 took the place of c2 (it gives no sign of life)" in said
    assert "on c1,c2 + 1 spare  " in said and "on c1,c3  " in said
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_the_node_of_rank_0_and_of_the_batch_script(site: Checkout, cluster: Cluster) -> None:
    """The ranks meet elsewhere, and a keeper ends the Slurm job, which would stay for ever."""
    run = Run(site, "steps=40")
    run.reach(0, 12)
    slurm_id = run.attempt(0)
    cluster.kill_node(1)
    run.reach(1, 20)
    run.end()
    assert cluster.wait_for(slurm_id) == "CANCELLED", keepers(run)
    run.check(most_lost=5)
    assert run.states() == ["NODE_FAIL", "COMPLETED"]
    assert site.json("status", run.id)["state"] == "COMPLETED"
    assert run.history("begun")[1]["nodes"] == ["c3", "c2"]
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_an_agent_and_then_a_keeper_are_killed(tmp_path: Path, cluster: Cluster) -> None:
    """Two spares, taken one after the other; the launcher sees one job that goes on."""
    site = learner.site(tmp_path, cluster, "spares = 2")
    try:
        run = Run(site, "steps=60")
        run.reach(0, 7)
        os.kill(run.agent_pid(1), signal.SIGKILL)
        run.reach(1, 17)
        os.kill(parent(run.agent_pid(0)), signal.SIGKILL)
        run.reach(2, 27)
        assert site.json("status", run.id)["state"] == "RUNNING"
        said = run.end()
        run.check(most_lost=10)
        assert run.states() == ["NODE_FAIL", "NODE_FAIL", "COMPLETED"], keepers(run)
        assert [entry["nodes"] for entry in run.history("begun")] == [["c1", "c2"], ["c1", "c3"], ["c4", "c3"]]
        assert "its agent was killed" in said
        assert site.json("nodes", "chain") == []  # Slurm has lost neither
    finally:
        heal(cluster)


@pytest.mark.slow
def test_two_nodes_lose_their_power_at_once(tmp_path: Path, cluster: Cluster) -> None:
    """One replacement for both, also of the one that decides."""
    site = learner.site(tmp_path, cluster, "spares = 2")
    try:
        run = Run(site, "steps=40")
        run.reach(0, 12)
        cluster.kill_node(2)
        cluster.kill_node(1)
        run.reach(1, 20)
        run.end()
        cluster.wait_for(run.attempt(1))  # a keeper ends it
        run.check(most_lost=5)
        assert run.states() == ["NODE_FAIL", "COMPLETED"], keepers(run)
        assert run.history("begun")[1]["nodes"] == ["c3", "c4"]
    finally:
        heal(cluster)


@pytest.mark.slow
def test_a_spare_that_dies_harms_nothing_and_is_not_taken(site: Checkout, cluster: Cluster) -> None:
    """Then no spare is left, and the chain goes on through the queue."""
    run = Run(site, "steps=300")
    run.reach(0, 7)
    first = run.attempt(0)
    cluster.kill_node(3)
    wait_until(lambda: "DOWN" in cluster.node_state(3), LIMIT_S, "c3 down")
    cluster.start_node(3)
    os.kill(run.agent_pid(1), signal.SIGKILL)
    run.reach(1, 30)
    assert run.attempt(1) != first
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["FAILED", "COMPLETED"], keepers(run)
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_no_spare_is_spent_on_the_programs_error(site: Checkout, cluster: Cluster) -> None:
    run = Run(site, "fail_at=3")
    said = run.end(code=1)
    assert run.states() == ["FAILED", "FAILED"], keepers(run)
    assert "it failed twice in the same way at step 2: ValueError: no more data" in said
    assert all("replaced" not in entry for entry in run.history("ended"))
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_cancel_pause_and_the_time_limit(site: Checkout, cluster: Cluster) -> None:
    """They save and end as without spares, and a chain goes on after a time limit only."""
    run = Run(site, "steps=600")
    run.reach(0, 7)
    cluster.expire(run.attempt(0))
    run.reach(1, 10)
    assert run.history("ended")[0]["state"] == "TIMEOUT", keepers(run)
    assert site.run("pause", run.id).returncode == 0
    wait_until(lambda: len(run.history("ended")) == 2 and not jobs_left(cluster, run), LIMIT_S, "the pause")
    assert run.history("ended")[1]["checkpoint"] == run.history("ended")[1]["to_step"]
    assert site.run("resume", run.id).returncode == 0
    run.reach(2, 12)
    assert "CANCELLED" in site.run("cancel", run.id).stdout
    assert run.states() == ["TIMEOUT", "CANCELLED", "CANCELLED"]
    assert jobs_left(cluster, run) == []


@pytest.mark.slow
def test_a_preemption(tmp_path: Path, cluster: Cluster) -> None:
    site = learner.site(tmp_path, cluster, "spares = 1", partition="low")
    try:
        run = Run(site, "steps=60")
        run.reach(0, 7)
        cluster.submit("sleep 2", "--partition=high", "--nodes=4", "--exclusive")
        run.reach(1, 17)
        run.end()
        run.check(most_lost=5)
        assert run.states() == ["PREEMPTED", "COMPLETED"], keepers(run)
    finally:
        heal(cluster)


@pytest.mark.slow
def test_the_only_node_of_a_job_without_a_chain(site: Checkout, cluster: Cluster) -> None:
    """Its batch script is lost as well; a second loss has no spare, and is the end."""
    env = site.root / "env.toml"
    env.write_text(env.read_text().replace('until = "done"\n', "").replace("nodes = 2", "nodes = 1"))
    run = Run(site, "steps=400")
    run.reach(0, 12)
    slurm_id = run.attempt(0)
    cluster.kill_node(1)
    run.reach(1, 20)
    assert "on c2" in site.run("status", run.id).stdout
    os.kill(run.agent_pid(0), signal.SIGKILL)
    run.end(code=1)
    cluster.wait_for(slurm_id)
    assert run.states() == ["NODE_FAIL", "FAILED"], keepers(run)
    assert site.json("status", run.id)["state"] == "FAILED"
    assert jobs_left(cluster, run) == []


def parent(pid: int) -> int:
    """The process that has started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
