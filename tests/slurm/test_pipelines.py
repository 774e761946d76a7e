"""A pipeline on a real Slurm: a chain in its middle, a killed rank, a killed launcher, and the same command again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run
from tests.slurm.test_submissions import SLOW_AFTER, let_go
from tests.slurm.test_truth import fake, heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e, pytest.mark.slow]

FILE = """\
steps:
  data: {recipe: stub-one, overrides: {run.env.nodes: 1}}
  train: {recipe: learner, needs: data, overrides: {steps: 400, flag: "${steps.data.run_dir}/flag"}}
  check: {recipe: stub-one, overrides: {run.env.nodes: 1, value: "${steps.train.checkpoints}"}}
"""


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    cluster.empty()
    site = learner.site(tmp_path, cluster)
    (site.root / "three.yaml").write_text(FILE)
    yield site
    heal(cluster)


def _plan(site: Checkout, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = site.json("pipeline", "three.yaml", "--batch", "chain", "--dry-run", *words)
    return found


class Step(Run):
    """A run of the pipeline, as its files show it."""

    def __init__(self, site: Checkout, plan: dict[str, Any], config: dict[str, Any]) -> None:
        self.site, self.id = site, plan["job_id"]
        self.config = config
        self.dir, self.run_dir = Path(plan["job_dir"]), Path(plan["run_dir"])

    def ended(self, state: str = "COMPLETED") -> None:
        wait_until(lambda: self.exit().get("state") == state and not self.exit().get("goes_on"), 120, self.id)


def test_it_survives_its_launcher_and_a_killed_rank(site: Checkout, cluster: Cluster) -> None:
    plan = _plan(site)
    assert [(step["name"], step["needs"]) for step in plan["steps"]] == [
        ("data", []),
        ("train", ["data"]),
        ("check", ["train"]),
    ]
    config = {**learner.CONFIG, "steps": 400}
    data, train, check = (Step(site, step["plan"], config) for step in plan["steps"])
    fake(site, "sbatch", SLOW_AFTER)
    launcher = site.start("pipeline", "three.yaml", "--batch", "chain", start_new_session=True)
    wait_until((site.root.parent / "bin" / "sbatch.done").exists, LIMIT_S, "the first step's sbatch")
    launcher.kill()
    launcher.wait()
    let_go(site)
    (site.root.parent / "bin" / "sbatch").unlink()
    again = site.json("pipeline", "three.yaml", "--batch", "chain")
    assert again["plan_hash"] == plan["plan_hash"]
    assert [step["job_id"] for step in again["steps"]][1:] == [train.id, check.id]
    assert f"waiting for {train.id} (" in site.run("status", check.id).stdout or check.exit()
    train.reach(0, 7)
    train.kill_rank(1)
    train.reach(1, 10)
    assert [step["state"] for step in _plan(site)["steps"]][1:] == ["RUNNING", "PENDING"]
    once = site.json("pipeline", "three.yaml", "--batch", "chain")  # nothing twice
    assert [step["job_id"] for step in once["steps"]][1:] == [train.id, check.id]
    check.ended()
    wait_until(lambda: bool(check.history("ended")), LIMIT_S, "what follows exit.json: the line of the history")
    train.check(most_lost=5)
    assert train.states() == ["FAILED", "COMPLETED"]
    assert data.history("ended")[0]["time"] < train.history("begun")[0]["time"]
    assert train.history("ended")[-1]["time"] < check.history("begun")[0]["time"]
    assert [step["state"] for step in _plan(site)["steps"]] == ["FINISHED"] * 3
    assert len(site.json("jobs")) == 3


def test_a_step_that_fails_and_the_same_command_again(site: Checkout, cluster: Cluster) -> None:
    """It cancels what needs it; attached, its code is the pipeline's. Mended, the rest is done."""
    broken = site.run("pipeline", "three.yaml", "--run", "chain", "train.fail_at=3", "--json")
    ended = json.loads(broken.stdout)
    assert (broken.returncode, [step["exit_code"] for step in ended["steps"]]) == (1, [0, 1, 143]), broken.stderr
    last = ended["steps"][2]["job_id"]
    wait_until(lambda: site.json("status", last)["state"] == "CANCELLED", LIMIT_S, last)
    assert "it was to follow" in site.json("status", last)["error"]
    done = site.run("pipeline", "three.yaml", "--run", "chain", "--json")
    assert done.returncode == 0, done.stderr
    assert [step["exit_code"] for step in json.loads(done.stdout)["steps"]] == [None, 0, 0]
    wait_until(lambda: not cluster.check("squeue", "-h").strip(), 120, "an empty queue")
