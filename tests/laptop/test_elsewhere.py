"""A laptop that is no Linux as the submitter: what its jobs run on is one, over SSH or in Docker."""

from __future__ import annotations

import pytest

from tests.conftest import OVER_SSH
from tests.docker_engine import BASE, Engine
from tests.laptop.machine import Laptop

pytestmark = pytest.mark.e2e
ENV_TOML = f"""
[dgx]{OVER_SSH}
[box]
executor = "docker"
nproc_per_node = 1
gpus_per_node = 0
container_image = "{BASE}"
docker_args = ["--network", "none"]
"""


@pytest.fixture(autouse=True)
def _profiles(laptop: Laptop) -> None:
    (laptop.root / "env.toml").write_text(ENV_TOML)


def test_a_cluster_over_ssh_is_planned(laptop: Laptop) -> None:
    plan = laptop.json("pretrain", "-c", "tiny", "--batch", "dgx", "--dry-run", "--offline")
    assert "#SBATCH --partition=batch" in plan["script"]
    assert [finding["message"] for finding in plan["findings"] if finding["level"] == "error"] == []


def test_docker_is_planned_diagnosed_and_used(laptop: Laptop, engine: Engine) -> None:
    lines = {line["what"]: line for line in laptop.json("doctor", "box", env=engine.env)["lines"]}
    assert [what for what, line in lines.items() if line["level"] == "FAIL"] == []
    assert lines["engine"]["level"] == lines["image"]["level"] == "ok"
    words = ("stub-one", "--name", "boxed", "steps=9000", "pause=0.1")
    plan = laptop.json(*words, "--run", "box", "--dry-run", env=engine.env)
    assert [finding["message"] for finding in plan["findings"] if finding["level"] != "note"] == []
    job_id = laptop.json(*words, "--batch", "box", env=engine.env)["job_id"]
    assert laptop.json("status", job_id, env=engine.env)["state"] == "RUNNING"
    done = laptop.run("cancel", job_id, env=engine.env)
    assert (done.returncode, done.stdout.strip()) == (0, f"{job_id}: CANCELLED"), done.stderr
