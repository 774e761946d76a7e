"""The same launch again, of a run whose processes were all killed: it resumes, and ends as if nothing had been."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Checkout
from tests.launch.test_train_tiny import kill_everything, wait_for_step
from tests.slurm import learner

pytestmark = pytest.mark.e2e

COMMAND = ("learner", "--name", "killed", "steps=40", "pause=0.2")


def test_it_resumes_from_the_last_complete_checkpoint(checkout: Checkout) -> None:
    learner.put(checkout)
    batch = checkout.run(*COMMAND, "--batch", "local")
    assert batch.returncode == 0, batch.stderr
    job_dir = checkout.root / "runs" / "killed.1"
    wait_for_step(job_dir, 7)
    kill_everything(job_dir)
    assert checkout.json("status", "killed")["state"] == "FAILED"
    folder = checkout.root / "runs" / "killed" / "checkpoints"
    saved = max(
        int(path.name.rpartition("_")[2]) for path in folder.glob("*_step_*") if not (path / ".incomplete").exists()
    )
    again = checkout.run(*COMMAND)
    assert again.returncode == 0, again.stderr + again.stdout
    assert f"resumes from its checkpoint of step {saved}." in again.stderr
    assert f"going on from step {saved}" in again.stdout
    metrics = [json.loads(line) for line in (job_dir.with_name("killed.2") / "metrics.jsonl").read_text().splitlines()]
    steps = [(row["step"], row["loss"]) for row in metrics if "loss" in row]
    expected = learner.undisturbed({"steps": 40}, 1)
    assert [step for step, _ in steps] == list(range(saved + 1, 40))
    assert [loss for _, loss in steps] == pytest.approx(expected[saved + 1 :], abs=1e-6)
