"""A job of two nodes takes its code from the nodes' own disks, on a real Slurm."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S, clean_environ, make_checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_runs import ENV

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


def test_each_node_unpacks_the_code_once(tmp_path: Path, cluster: Cluster) -> None:
    if not cluster.has_namespaces:
        pytest.skip("nodes are plain processes here and have no disk of their own")
    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=tmp_path / "jobs"))
    checkout.environ = {**clean_environ(), **cluster.env}
    look = "ls -d /dev/shm/launch-code-* /tmp/launch-code-*"
    before = cluster.on_each_node(look)  # agents that other tests have killed may have left some
    done = checkout.run("stub-one", "--run", "test2", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr
    (job,) = (tmp_path / "jobs").glob("stub*.1")
    for node in (0, 1):
        (copy,) = re.findall(r"the ranks import the code from (\S+),", (job / f"logs/agent-{node}.log").read_text())
        assert copy.startswith("/dev/shm/launch-code-")
    cluster.wait_for(int(checkout.json("status", "last")["handle"]["slurm_id"]))
    assert cluster.on_each_node(look) <= before
    wait_until(lambda: not list(job.glob(".code-*")), LIMIT_S, "the batch script's `finish`, which removes the archive")
    assert (job / "code" / "recipes" / "node_agent.py").is_file()
