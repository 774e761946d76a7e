"""Data preparation on two nodes of a real Slurm: the shards are shared out, and the bytes are those of one process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import Checkout, make_checkout
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    config,
    digests,
    documents,
    prepare,
    write_jsonl,
)
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ENV = """
[two]
executor = "slurm"
partition = "batch"
nodes = 2
cpus_per_task = 2
time = "00:10:00"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}/slurm"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Checkout:
    base = tmp_path_factory.mktemp("data-prep")
    checkout = make_checkout(base / "checkout")
    checkout.environ = {**checkout.environ, **cluster.env}
    (checkout.root / "env.toml").write_text(ENV.format(root=base / "jobs", python=sys.executable))
    return checkout


def _made(log: str, shards: int) -> int:
    """The shards that a node has made; it tells how many where others have made some, too."""
    told = [int(number) for number in re.findall(rf"^(\d+) of {shards} shards were made here", log, re.MULTILINE)]
    return sum(told) if told else shards * bool(re.search(rf"^{shards} shards, ", log, re.MULTILINE))


def test_two_nodes_make_what_one_process_makes(site: Checkout, tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(1500)), num_shards=9)
    prepare(values | {"output_dir": str(tmp_path / "one"), "workers": 1}, tmp_path)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(values))

    done = site.run("data-prep", "-c", str(path), "--run", "two")
    assert done.returncode == 0, done.stderr + done.stdout
    record = site.json("status", "last")
    assert record["state"] == "COMPLETED"
    assert digests(tmp_path / "out") == digests(tmp_path / "one")
    logs = [p.read_text() for p in sorted(Path(record["job_dir"], "logs").glob("rank-*.log"))]
    shares = [_made(log, 9) for log in logs]
    assert len(shares) == 2 and sum(shares) == 9

    again = site.run("data-prep", "-c", str(path), "--run", "two")
    assert again.returncode == 0 and "nothing to do" in again.stdout + again.stderr
