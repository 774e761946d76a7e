"""`exec`, `stacks` and `profile` on a cluster: over SSH; test_containers.py has it with pyxis."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests.conftest import ROOT, Checkout, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.sshd import SshServer
from tests.slurm.test_ssh import SSH, client
from tests.slurm.test_truth import heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


@pytest.fixture
def laptop(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> Iterator[Checkout]:
    """A machine without Slurm, and a profile with the alias of the cluster's login node."""
    yield client(make_site(tmp_path, {}, SSH), login_node)
    heal(cluster)


def test_over_ssh_on_each_node(laptop: Checkout) -> None:
    record = laptop.json("stub-one", "--batch", "two", "steps=9000", "pause=0.1", "value='ERROR: no disk'")
    logs = [Path(record["job_dir"], contract.rank_log(rank)) for rank in (0, 1)]
    wait_for(lambda: all("step 1 " in log.read_text() for log in logs))
    assert "[1] x | INFO | root | step" in laptop.run("logs", "--rank", "all").stdout
    wait_for(lambda: (laptop.json("status")["progress"] or {}).get("elapsed_s"))  # the agent reads the log, too
    status = laptop.json("status")
    assert status["launched"]["command"].startswith("python launch.py stub-one --batch two")
    names = {}
    for node in ("0", "1"):
        script = 'hostname; echo "$SLURM_JOB_ID ${LAUNCH_JOB_ID} $1"; cat; exit 5'
        done = laptop.run("exec", "last", "--node", node, "--", "bash", "-c", script, "x", "it's \\ $x", input="typed")
        assert done.returncode == 5, done.stderr
        told = done.stdout.partition("\n")[2]
        assert told == f"{record['handle']['slurm_id']} {record['job_id']} it's \\ $x\ntyped"
        names[node] = json.loads(laptop.run("exec", "last", "--json", "--node", node, "--", "true").stdout)["node"]
    assert len(set(names.values())) == 2
    assert laptop.run("exec", "last", "--node", names["1"], "--", "no-such-command").returncode == 127
    found = laptop.json("stacks", "last")["stacks"]
    assert sorted(rank for one in found for rank in one["ranks"]) == [0, 1]
    (error,) = laptop.json("logs", "--errors", "--grep", "no disk")["errors"]
    assert (error["ranks"], error["lines"]) == ([0, 1], ["value ERROR: no disk"])
    recent = laptop.run("logs", "--since", "1h").stdout
    assert recent == ""  # of lines without times; the zone of the node was found all the same
    assert laptop.run("cancel", "last", "--now").returncode == 0


@pytest.mark.slow
@pytest.mark.train
def test_a_profile_of_two_nodes_over_ssh(laptop: Checkout) -> None:
    shutil.copy(ROOT / "tests/recipes/profiled.py", laptop.root / "recipes")
    (laptop.root / "configs/profiled").mkdir()
    (laptop.root / "configs/profiled/default.yaml").write_text("steps: 5000\n")
    begun = laptop.run("profiled", "--batch", "two", "--name", "p", "run.env.rank_times=8")
    assert begun.returncode == 0, begun.stderr
    wait_for(lambda: laptop.json("status", "p")["progress"]["step"], 240)
    found = laptop.json("profile", "p", "--ranks", "all")
    assert [(row["rank"], row["error"], row["steps"]) for row in found["ranks"]] == [(0, None, 3), (1, None, 3)]
    assert found["slowest"]["rank"] == 1
    past = laptop.run("profile", "p", "--steps", "0")
    assert (past.returncode, "step 0 is past" in past.stderr) == (2, True)
    slow = wait_for(lambda: laptop.json("status", "p")["slow_rank"])
    nodes = [row["nodes"] for row in laptop.json("status", "p")["history"]][-1]
    assert (slow["rank"], slow["local_rank"], slow["node"]) == (1, 0, nodes[1])
    assert laptop.run("cancel", "p", "--now").returncode == 0
