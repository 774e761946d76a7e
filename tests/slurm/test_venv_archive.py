"""A job of two nodes, and a spare, whose Python comes out of an archive, copied by Slurm, on a real Slurm."""

from __future__ import annotations

import re
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

from tests.conftest import clean_environ, make_checkout
from tests.slurm.cluster import Cluster
from tests.slurm.test_runs import ENV

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]
LOOK = "ls -d /tmp/launch-* /dev/shm/launch-venv-*"


def test_both_nodes_train_with_it_and_none_keeps_it(tmp_path: Path, cluster: Cluster) -> None:
    if not cluster.has_namespaces:
        pytest.skip("nodes are plain processes here and have no disk of their own")
    venv.create(tmp_path / "train", symlinks=True)
    (site,) = (tmp_path / "train").glob("lib/python3*/site-packages")
    (site / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")  # the stub needs PyYAML
    archive = tmp_path / "train.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "train", ".")
    checkout = make_checkout(tmp_path / "checkout")
    keys = f'venv_archive = "{archive}"\nspares = 1'
    text = ENV.format(python=sys.executable, root=tmp_path / "jobs").replace(f'python = "{sys.executable}"', keys)
    (checkout.root / "env.toml").write_text(text)
    checkout.environ = {**clean_environ(), **cluster.env}
    before = cluster.on_each_node(LOOK)  # agents that other tests have killed may have left some
    done = checkout.run("stub-one", "--run", "test2", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr + done.stdout
    (job,) = (tmp_path / "jobs").glob("stub*.1")
    for node in (0, 1):
        said = (job / f"logs/agent-{node}.log").read_text()
        (where, source) = re.findall(r"the job's Python is (\S+), out of (\S+), in", said)[0]
        assert re.fullmatch(r"/tmp/launch-venv-\w+/venv/bin/python", where), said
        assert re.fullmatch(r"/tmp/launch-venv-\d+-0\.archive", source), "sbcast's copy, not the shared file"
    assert "launch-venv-" in (job / "environment.json").read_text()
    cluster.wait_for(int(checkout.json("status", "last")["handle"]["slurm_id"]))
    assert cluster.on_each_node(LOOK) <= before
