"""Spare nodes: a node that is lost is replaced within the job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    yield learner.site(tmp_path, cluster, "spares = 1")
    heal(cluster)


def keepers(run: Run) -> str:
    """What the keepers have said, for who looks at a failure."""
    return "".join(f"{path.name}\n{path.read_text()}" for path in sorted(run.dir.glob("logs/keeper-*.log")))


def test_a_node_without_power_is_replaced_within_the_job(site: Checkout, cluster: Cluster) -> None:
    """The run goes on from its last checkpoint on the spare, in the same Slurm job, with the same losses."""
    run = Run(site, "steps=40")
    run.reach(0, 12)
    slurm_id = run.attempt(0)
    lost = run.node(1)["host"]
    cluster.kill_node(int(lost[1:]))
    run.reach(1, 20)
    assert run.attempt(1) == slurm_id
    said = run.end()
    run.check(most_lost=5)
    assert run.states() == ["NODE_FAIL", "COMPLETED"], keepers(run)
    first, second = run.history("begun")
    assert (first["nodes"], first["spares"]) == (["c1", "c2"], ["c3"])
    assert (second["nodes"], second["spares"], second["replaces"]) == (["c1", "c3"], [], [lost])
    assert "c3 took the place of c2 (it gives no sign of life)" in said
    assert jobs_left(cluster, run) == []
