"""Jobs over 64 nodes on a real Slurm: a rank that fails, a node that is lost, a chain, doctor."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S, Checkout, clean_environ, make_checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import start
from tests.slurm.test_chain import Run

pytestmark = [pytest.mark.slurm, pytest.mark.e2e, pytest.mark.slow]

NODES, SPARE = 64, 2
ENV = """
[many]
executor = "slurm"
partition = "batch"
nodes = 64
gpus_per_node = 1
nproc_per_node = 1
time = "00:20:00"
python = "{python}"
remote_job_dir = "{root}"
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # A step's daemons end as a tree, and those above a lost node wait a minute for it: with the cluster's usual 20 s
    # Slurm takes them for stuck, and drains nodes that are well.
    patient = ("--set", "UnkillableStepTimeout=180")
    yield from start(tmp_path_factory, "--nodes", str(NODES + SPARE), "--gpus", "1", *patient)


@pytest.fixture
def site(tmp_path: Path, many: Cluster) -> Checkout:
    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=tmp_path / "jobs"))
    checkout.environ = {**clean_environ(), **many.env}
    return checkout


def test_one_of_64_fails(site: Checkout, many: Cluster, tmp_path: Path) -> None:
    done = site.run("stub-one", "--run", "many", "fail_rank=37", "code=7", "pause=1")
    assert done.returncode == 7, done.stderr
    assert "error: about to fail (rank 37 on c38)" in done.stderr
    (job,) = (tmp_path / "jobs").glob("stub-one*.1")
    found = json.loads((job / "exit.json").read_text())
    assert (found["state"], found["rank"], found["node"], found["complete"]) == ("FAILED", 37, "c38", True)
    assert len(found["nodes"]) == len(list((job / "nodes").glob("*.json"))) == NODES
    if many.has_namespaces:
        logs = "".join(path.read_text() for path in job.glob("logs/agent-*.log"))
        copies = re.findall(r"the ranks import the code from /dev/shm/launch-code-", logs)
        assert len(copies) == NODES, "each node has a copy of its own"
    ranks = site.run("logs", "last", "--rank", "all").stdout
    assert Counter(re.findall(r"^\[ *(\d+)\] value", ranks, re.MULTILINE)) == {str(n): 1 for n in range(NODES)}
    events = [json.loads(line)["state"] for line in (job / "events.jsonl").read_text().splitlines()]
    assert Counter(events)["started"] == Counter(events)["ended"] == 1


def test_a_chain_over_64_loses_a_node(tmp_path: Path, many: Cluster) -> None:
    """The node of rank 37 loses its power; the next attempt goes on without it."""
    checkout = learner.site(tmp_path, many)
    profile = checkout.root / "env.toml"
    profile.write_text(profile.read_text().replace("nodes = 2", f"nodes = {NODES}"))
    run = Run(checkout, "steps=60", "pause=0.3")
    run.reach(0, 7)
    lost = run.node(37)["host"]
    many.kill_node(int(lost[1:]))
    try:
        run.end()
    finally:
        many.start_node(int(lost[1:]))
    assert run.states() == ["NODE_FAIL", "COMPLETED"]
    first, second = (set(begun["nodes"]) for begun in run.history("begun"))
    assert (len(first), len(second), lost in first, lost in second) == (NODES, NODES, True, False)
    done = {entry["step"]: entry["loss"] for entry in run.metrics()}
    expected = learner.undisturbed(run.config, NODES)
    assert [done[step] for step in sorted(done)] == pytest.approx(expected, abs=1e-4)
    wait_until(lambda: not list(run.dir.glob(".code-*")), LIMIT_S, "the last attempt's `finish`")


def test_doctor_on_64(site: Checkout, many: Cluster) -> None:
    done = site.run("doctor", "many")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "66" in done.stdout
