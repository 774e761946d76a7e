"""Megatron-Bridge's own pretraining in a chain on two nodes: a rank is killed, and the time limit comes, and comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Checkout, TinyCorpus
from tests.recipes.bridge_fixtures import PYTHON, needs_bridge
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_pretrain_runs import prepared
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.e2e, pytest.mark.slow, needs_bridge]

STEPS, EVERY = 260, 20  # more than an attempt does within its four minutes: a step takes 0.8 s at least
SLOW_STEP = """
import time
from megatron.bridge.training import gpt_step

def forward_step(state, data_iterator, model, return_schedule_plan=False):
    time.sleep(0.2)  # four micro-batches a step
    return gpt_step.forward_step(state, data_iterator, model, return_schedule_plan)
"""
ENV = f"""
[chain]
executor = "slurm"
partition = "low"
nodes = 2
gpus_per_node = 1
nproc_per_node = 1
cpus_per_task = 1
time = "00:04:00"
container_image = "none"
python = "{PYTHON}"
remote_job_dir = "{{root}}"
data_dir = "{{data}}"
stop_grace = 40
until = "done"
env_vars = {{{{PYTHONPATH = "{{data}}"}}}}
"""
COMMAND = (
    *("pretrain-bridge", "-c", "tiny", f"train.train_iters={STEPS}", f"checkpoint.save_interval={EVERY}"),
    *(f"scheduler.lr_decay_iters={STEPS}", "train.eval_interval=100", "model.seq_length=64"),
    "+step_func=slow_step.forward_step",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, tiny_corpus: TinyCorpus) -> Iterator[Checkout]:
    site = prepared(tmp_path_factory.mktemp("chain"), cluster, ENV, tiny_corpus)
    (site.root / "data" / "slow_step.py").write_text(SLOW_STEP)
    yield site
    heal(cluster)


class Pretraining(Run):
    """As Run, of the real thing."""

    def __init__(self, site: Checkout) -> None:
        self.site = site
        record = site.json(*COMMAND, "--batch", "chain", "--name", "bridge")
        self.dir, self.run_dir, self.id = Path(record["job_dir"]), Path(record["run_dir"]), record["job_id"]


@pytest.mark.timeout(2400)
def test_a_killed_rank_and_the_time_limit(site: Checkout, cluster: Cluster) -> None:
    """The loss comes from the last rank, on the other node; every step has one in the end, and it has fallen."""
    run = Pretraining(site)
    wait_until(lambda: any(entry["step"] >= EVERY + 5 for entry in run.metrics()), 200, "its first steps", interval=0.5)
    run.kill_rank(1)
    wait_until((run.run_dir / "finished.json").exists, 1800, "the run's end", interval=1)
    said = run.end()
    states = run.states()
    assert states[0] == "FAILED"
    assert set(states[1:-1]) == {"TIMEOUT"}
    assert states[-1] == "COMPLETED"
    assert f"{len(states)} attempts" in said
    losses = {entry["step"]: entry["loss"] for entry in run.metrics() if "loss" in entry}
    assert sorted(losses) == list(range(STEPS))
    assert losses[STEPS - 1] < losses[0] - 1
    assert all(entry["tps"] > 0 for entry in run.metrics() if "loss" in entry)
    again = len([entry for entry in run.metrics() if "loss" in entry]) - STEPS
    assert again <= EVERY  # done twice: what the killed attempt had not saved; SIGTERM before the limit loses none
    finished = json.loads((run.run_dir / "finished.json").read_text())
    assert (finished["step"], finished["checkpoint"].rpartition("/")[2]) == (STEPS, f"iter_{STEPS:07d}")
    assert jobs_left(cluster, run) == []
    assert Path(finished["checkpoint"]).is_dir()
