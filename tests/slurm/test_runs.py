"""Jobs on a real Slurm of four nodes, as a person on a login node starts them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.conftest import LIMIT_S, Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ENV = """
[test2]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 2
gpus_per_node = 8
nproc_per_node = 2
time = "00:10:00"
python = "{python}"
remote_job_dir = "{root}"

[short]
extends = "test2"
time = "00:01:00"
"""


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Checkout:
    """A checkout on a login node of the cluster without accounting."""
    return _site(tmp_path, cluster)


def _site(tmp_path: Path, cluster: Cluster) -> Checkout:
    import sys

    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=tmp_path / "jobs"))
    checkout.environ = {**clean_environ(), **cluster.env}
    return checkout


def _written(cluster: Cluster, slurm_id: str) -> str:
    """The batch script that Slurm has, to the byte."""
    return cluster.check("scontrol", "write", "batch_script", slurm_id, "-")


def test_attached_two_nodes_end_with_success(site: Checkout, cluster: Cluster) -> None:
    plan = site.json("stub", "--run", "test2", "--dry-run")
    assert (plan["nodes"], plan["processes_per_node"], plan["world_size"]) == (2, 2, 4)
    done = site.run("stub", "--run", "test2", "value=a b")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "value a b" in done.stdout
    status = site.json("status", "last")
    assert status["state"] == "COMPLETED"
    ranks = site.run("logs", "last", "--rank", "all").stdout
    assert all(f"[{rank}] value" in ranks for rank in range(4))


def test_what_the_dry_run_shows_is_what_slurm_has(site: Checkout, cluster: Cluster) -> None:
    plan = site.json("stub-one", "--batch", "test2", "--dry-run", "pause=0.5", "steps=4")
    record = site.json("stub-one", "--batch", "test2", "pause=0.5", "steps=4")
    assert record["plan_hash"] == plan["plan_hash"]
    assert _written(cluster, record["handle"]["slurm_id"]) == plan["script"]
    assert site.run("attach", record["job_id"]).returncode == 0


def test_exit_7_on_rank_3_is_the_commands_exit_code(site: Checkout) -> None:
    done = site.run("stub", "--run", "test2", "fail_rank=3", "code=7")
    assert done.returncode == 7, done.stderr
    assert "FAILED, exit code 7" in done.stderr
    assert "error: about to fail (rank 3 on" in done.stderr


def test_cancelled_from_elsewhere(site: Checkout, cluster: Cluster) -> None:
    process = _start(site, "stub-one", "--run", "test2", "steps=9000", "pause=0.2")
    cluster.check("scancel", _slurm_id(site))
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode not in (0, None)
    assert "CANCELLED" in err


def test_ctrl_c_detaches_and_the_job_goes_on(site: Checkout, cluster: Cluster) -> None:
    process = _start(site, "stub-one", "--run", "test2", "steps=9000", "pause=0.2")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "goes on" in err
    assert site.json("status", "last")["state"] == "RUNNING"
    cancelled = site.run("cancel", "last")
    assert "CANCELLED" in cancelled.stdout, cancelled.stderr


def _start(site: Checkout, *args: str) -> subprocess.Popen[str] | warm.Process:
    """Start launch.py and wait until the job has logged its second step."""
    process = site.start(*args)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        logs = site.root.parent.glob("jobs/*/logs/rank-0.log")
        if any("step 1 " in log.read_text() for log in logs):
            return process
        assert process.poll() is None, process.communicate(timeout=60)
        time.sleep(0.2)
    raise AssertionError("the job did not start")


def _slurm_id(site: Checkout) -> str:
    handle: dict[str, Any] = site.json("status", "last")["handle"]
    return str(handle["slurm_id"])


def test_records_hold_what_finds_the_job(site: Checkout) -> None:
    site.run("stub-one", "--batch", "test2")
    (path,) = (site.root / ".launch" / "jobs").glob("*.json")
    assert json.loads(path.read_text())["handle"]["slurm_id"].isdigit()
