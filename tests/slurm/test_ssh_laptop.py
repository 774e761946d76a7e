"""A cluster over SSH, from a laptop that is no Linux."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.laptop import machine
from tests.laptop.machine import Laptop
from tests.slurm.cluster import Cluster
from tests.slurm.sshd import SshServer
from tests.slurm.test_ssh import SSH
from tests.slurm.test_truth import make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


@pytest.fixture
def laptop(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> Laptop:
    """Its ssh knows the cluster's login node, as `login`."""
    assert machine.missing() is None
    laptop = Laptop(tmp_path / "laptop")
    laptop.root = make_site(tmp_path, {}, SSH).root
    ssh = laptop.bin / "ssh"
    ssh.unlink()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {login_node.config} "$@"\n')
    ssh.chmod(0o755)
    laptop.environ["XDG_RUNTIME_DIR"] = str(login_node.dir)
    return laptop


def test_diagnosed_submitted_followed_and_cancelled(laptop: Laptop) -> None:
    lines = laptop.json("doctor", "two")["lines"]
    assert [line["what"] for line in lines if line["level"] == "FAIL"] == [], lines
    done = laptop.run("stub-one", "--run", "two", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr
    assert "about to fail (rank 1 on c" in done.stderr
    job_id = laptop.json("stub-one", "--batch", "two", "steps=9000", "pause=0.1")["job_id"]
    assert laptop.json("status", job_id)["state"] in ("PENDING", "RUNNING")
    done = laptop.run("cancel", job_id)
    assert (done.returncode, done.stdout.strip()) == (0, f"{job_id}: CANCELLED"), done.stderr
