"""What --export writes is stopped by Slurm: it saves and goes on, as a launched job does, without a launcher."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


class Exported(Run):
    """A run of the learner that was exported, moved, and handed to sbatch by hand."""

    def __init__(self, tmp_path: Path, cluster: Cluster, *more: str, steps: int, chain: bool = True) -> None:
        site = learner.site(tmp_path, cluster, partition="low")
        if not chain:
            text = (site.root / "env.toml").read_text()
            (site.root / "env.toml").write_text(text.replace('until = "done"\n', ""))
        out, there = tmp_path / "out", tmp_path / "there"
        done = site.run("learner", "--run", "chain", "--name", "far", f"steps={steps}", *more, "--export", str(out))
        assert done.returncode == 0, done.stderr
        shutil.move(out, there)
        self.config = {**learner.CONFIG, "steps": steps}
        self.dir, self.run_dir, self.id = there / "runs" / "far.1", there / "runs" / "far", "far.1"
        self.slurm_id = int(cluster.check("sbatch", "--parsable", f"--chdir={tmp_path}", str(there / "script")))

    def ended(self, timeout: float = LIMIT_S) -> list[str]:
        """How its attempts ended, once the last one has; of one job, whose steps are those of an undisturbed run."""

        def states() -> list[str]:
            return [entry["state"] for entry in self.history("ended")]

        wait_until(lambda: "COMPLETED" in states(), timeout, f"the end of {self.id}")
        self.check(most_lost=10)
        assert sorted(path.name for path in self.dir.parent.iterdir() if path.is_dir()) == ["far", "far.1"]
        return states()


@pytest.fixture(autouse=True)
def healed(cluster: Cluster) -> Iterator[None]:
    yield
    heal(cluster)


def test_a_preemption(tmp_path: Path, cluster: Cluster) -> None:
    run = Exported(tmp_path, cluster, "hold=7", steps=60)
    run.reach(0, 7)
    other = cluster.submit("sleep 2", "--partition=high", "--nodes=4", "--exclusive")
    run.attempt(1)
    run.go()
    run.reach(1, 17)
    assert cluster.wait_for(other) == "COMPLETED"
    assert run.ended() == ["PREEMPTED", "COMPLETED"]


@pytest.mark.slow
def test_a_time_limit(tmp_path: Path, cluster: Cluster) -> None:
    run = Exported(tmp_path, cluster, steps=400)
    run.reach(0, 7)
    cluster.expire(run.attempt(0))
    assert run.ended() == ["TIMEOUT", "COMPLETED"]


@pytest.mark.slow
def test_a_requeue_and_a_signal(tmp_path: Path, cluster: Cluster) -> None:
    """Without a chain: requeued, it is the same Slurm job in the same directory; a signal lets it save and end."""
    run = Exported(tmp_path, cluster, steps=200, chain=False)
    run.reach(0, 7)
    cluster.check("scontrol", "requeue", str(run.slurm_id))
    wait_until(lambda: cluster.state(run.slurm_id) == "PENDING", LIMIT_S, "the requeue")
    cluster.check("scontrol", "update", f"jobid={run.slurm_id}", "StartTime=now")  # Slurm holds it for two minutes
    run.reach(1, 20)
    assert run.attempt(1) == run.slurm_id
    cluster.check("scancel", "--signal=TERM", str(run.slurm_id))
    wait_until(lambda: cluster.state(run.slurm_id) not in ("RUNNING", "COMPLETING"), LIMIT_S, "the end")
    assert run.exit()["state"] == "CANCELLED"
    script = run.dir.parent.parent / "script"
    cluster.check("sbatch", "--parsable", f"--chdir={tmp_path}", str(script))
    run.dir = run.dir.with_name("far.2")
    wait_until(lambda: run.exit().get("state") == "COMPLETED", 120, "the end of far.2")
    assert (run.dir / "logs" / "rank-0.log").read_text().count("going on from step") == 1
