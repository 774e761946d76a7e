"""AutoModel's own pretraining in a chain: whatever stops it, every step's loss is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S, Checkout, TinyCorpus
from tests.launch.test_train_tiny import SMALL
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_pretrain_runs import prepared
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.e2e, pytest.mark.slow]

STEPS, EVERY = 60, 5
ENV = """
[chain]
executor = "slurm"
partition = "low"
nodes = 2
gpus_per_node = 1
nproc_per_node = 1
cpus_per_task = 1
time = "00:20:00"
rehearse = "off"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}"
data_dir = "{data}"
stop_grace = 60
stall = "15s"
until = "done"

[whole]
extends = "chain"
remote_job_dir = "{root}-whole"
"""
COMMAND = (
    *("pretrain", "-c", "tiny", *SMALL, f"step_scheduler.max_steps={STEPS}"),
    f"step_scheduler.ckpt_every_steps={EVERY}",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, tiny_corpus: TinyCorpus) -> Iterator[Checkout]:
    yield prepared(tmp_path_factory.mktemp("chain"), cluster, ENV, tiny_corpus)
    heal(cluster)


def losses(run_dir: Path) -> dict[int, float]:
    """The later record of a step counts."""
    lines = (run_dir / "checkpoints" / "training.jsonl").read_text().splitlines()
    return {record["step"]: record["loss"] for record in map(json.loads, lines)}


class Pretraining(Run):
    """As Run, of the real thing."""

    def __init__(self, site: Checkout, *options: str) -> None:
        self.site = site
        record = site.json(*COMMAND, "--batch", "chain", *options)
        self.dir, self.run_dir, self.id = Path(record["job_dir"]), Path(record["run_dir"]), record["job_id"]


@pytest.fixture(scope="module")
def expected(site: Checkout) -> dict[int, float]:
    """Losses of an undisturbed run."""
    whole = site.run(*COMMAND, "--run", "whole")
    assert whole.returncode == 0, whole.stderr
    return losses(Path(site.json("status", "last")["run_dir"]))


def same(found: dict[int, float], expected: dict[int, float]) -> None:
    assert sorted(found) == list(range(STEPS))
    assert [found[s] for s in sorted(found)] == pytest.approx([expected[s] for s in sorted(expected)], abs=1e-4)


# What AutoModel 0.7.0 writes, in this order, between making `.incomplete` and removing it.
PHASES = (".incomplete", "losses.json", "rng/*", "step_scheduler.pt", "model/*", "optim/*", "config.yaml")


@pytest.mark.timeout(1800)
def test_killed_in_each_phase_of_a_save(site: Checkout, cluster: Cluster, expected: dict[int, float]) -> None:
    """Rank 0 is killed as soon as a save has come so far; the next attempt goes on from the checkpoint before it."""
    run = Pretraining(site, "--name", "phases")
    for attempt, phase in enumerate(PHASES):
        run.reach(attempt, 6 + EVERY * attempt)
        node = run.node(0)
        pid = run.pid_here(node["host"], int(node["ranks"]["0"]))
        saving = wait_for_save(run.run_dir / "checkpoints", phase)
        os.kill(pid, signal.SIGKILL)
        assert (saving / ".incomplete").exists(), f"{phase}: the save was over"
        print(phase, sorted(path.name for path in saving.iterdir()))
    said = run.end()
    same(losses(run.run_dir), expected)
    steps = [entry["step"] for entry in run.metrics() if "loss" in entry]
    assert len(steps) - len(set(steps)) <= len(PHASES) * EVERY
    assert f"{len(PHASES) + 1} attempts" in said
    assert jobs_left(cluster, run) == []


def wait_for_save(checkpoints: Path, phase: str) -> Path:
    """The checkpoint that is being saved, once it has come to that phase."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for marker in checkpoints.glob("epoch_*/.incomplete"):
            if any(path.stat().st_mtime >= marker.stat().st_mtime for path in marker.parent.glob(phase)):
                return marker.parent
    raise AssertionError(f"no save came to {phase}")


@pytest.mark.timeout(1800)
def test_everything_happens_to_it(site: Checkout, cluster: Cluster, expected: dict[int, float]) -> None:
    run = Pretraining(site, "--name", "everything")
    run.reach(0, 6)
    run.kill_rank(1)
    run.reach(1, 12)
    node = run.node(1)
    agent = run.pid_here(node["host"], node["agent_pid"])
    torchrun, *_ = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    os.kill(int(torchrun), signal.SIGKILL)
    run.reach(2, 18)
    run.kill_rank(1, signal.SIGSTOP)
    run.reach(3, 24)
    other = cluster.submit("sleep 2", "--partition=high", "--nodes=4", "--exclusive")
    run.reach(4, 30)
    assert cluster.wait_for(other) == "COMPLETED"
    saving = run.run_dir / "checkpoints"
    wait_until(lambda: list(saving.glob("epoch_*/.incomplete")), LIMIT_S, "a save", interval=0.005)
    run.kill_rank(0)
    run.reach(5, 45)
    cluster.kill_node(int(run.node(0)["host"][1:]))
    said = run.end()
    same(losses(run.run_dir), expected)
    steps = [entry["step"] for entry in run.metrics() if "loss" in entry]
    assert len(steps) - len(set(steps)) <= 6 * EVERY
    assert run.states()[-1] == "COMPLETED"
    assert "7 attempts" in said
    assert jobs_left(cluster, run) == []
    print(said)
