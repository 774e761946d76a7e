"""Data preparation as a Slurm array: parts that come and go share the shards; one that is killed is not missed."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Checkout, make_checkout
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    config,
    digests,
    documents,
    prepare,
    write_jsonl,
)
from tests.slurm.cluster import Cluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ENV = """
[part]
executor = "slurm"
partition = "batch"
cpus_per_task = 1
time = "00:10:00"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}/slurm"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Checkout:
    base = tmp_path_factory.mktemp("data-prep-array")
    checkout = make_checkout(base / "checkout")
    checkout.environ = {**checkout.environ, **cluster.env}
    (checkout.root / "env.toml").write_text(ENV.format(root=base / "jobs", python=sys.executable))
    return checkout


def _claims(values: dict[str, Any], path: Path) -> Path:
    """Where the parts will claim shards."""
    done = subprocess.run(
        [sys.executable, str(RECIPE), "look", "--config", str(path)], capture_output=True, text=True, check=True
    )
    return Path(json.loads(done.stdout)["output"], ".data_prep", "claims")


def test_parts_share_the_shards_and_one_that_is_killed_is_not_missed(
    site: Checkout, cluster: Cluster, tmp_path: Path
) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(900)), num_shards=7, workers=1)
    path = tmp_path / "parts.yaml"
    path.write_text(yaml.safe_dump(values))
    claims = _claims(values, path)
    claims.mkdir(parents=True)
    launch = ("data-prep", "-c", str(path), "--batch", "part", "--name", "words", "--sweep", "part=1,2,3")

    def points() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = site.json("status", "words")["points"]
        return found

    def log(job_id: str) -> str:
        return "".join(path.read_text() for path in jobs.glob(f"{job_id}/logs/rank-*.log"))

    with (claims / "web_00003").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # a shard that another is making: the parts come to its end, and wait
        done = site.run(*launch, "--at-most", "2")
        assert done.returncode == 0, done.stderr + done.stdout
        jobs = Path(site.json("status", points()[0]["job_id"])["job_dir"]).parent
        ids = {p["job_id"]: p["slurm_id"] for p in points()}
        told = "shards that other nodes are making"
        wait_until(lambda: sum(told in log(job) for job in ids) == 2, 120, "two parts that wait")
        made = claims.parent / "receipts"
        wait_until(lambda: len(list(made.glob("*.json"))) == 6, 120, "all shards but one")
        late = next(job for job in ids if not log(job))
        killed = next(job for job in ids if told in log(job))
        cluster.check("scancel", "--signal=KILL", "--full", ids[killed])
        wait_until(lambda: told in log(late), 120, "the part for which there was no room")
    assert site.run("attach", "words").returncode == 143  # a cancelled job's; the others do not hide it
    states = {p["job_id"]: p["state"] for p in points()}
    assert states.pop(killed) == "CANCELLED" and set(states.values()) == {"COMPLETED"}, states
    prepare(values | {"output_dir": str(tmp_path / "one")}, tmp_path)
    assert digests(tmp_path / "out") == digests(tmp_path / "one")
    done = site.run(*launch)  # the one that was killed, alone
    assert done.returncode == 0, done.stderr + done.stdout
    assert site.run("attach", "words").returncode == 0
    again = {p["job_id"] for p in points()} - set(ids)
    assert len(again) == 1 and "nothing to do" in log(again.pop())
