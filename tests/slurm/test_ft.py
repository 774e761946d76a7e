"""`launcher = "ft"` under Slurm: a killed rank is started again within the job, and a lost node replaced."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_truth import heal

PACKAGE = "nvidia_resiliency_ext"
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="setup.sh --dev installs it"),
]


def test_a_killed_rank_is_started_again_within_the_job_and_a_lost_node_replaced(
    tmp_path: Path, cluster: Cluster
) -> None:
    site = learner.site(tmp_path, cluster, 'launcher = "ft"\nspares = 1')
    recipe = site.root / "recipes" / "learner.py"
    recipe.write_text(recipe.read_text().replace('launch = "python"', 'launch = "torchrun"'))
    try:
        run = Run(site, "steps=120")
        run.reach(0, 12)
        run.kill_rank(1)
        wait_until(lambda: "restarted" in (run.dir / "events.jsonl").read_text(), LIMIT_S, "the restart")
        run.reach(0, 32)
        cluster.kill_node(2)
        said = run.end()
        run.check(most_lost=10)
        assert run.states() == ["NODE_FAIL", "COMPLETED"]
        assert [entry.get("restarts") for entry in run.history("ended")] == [1, None]
        assert run.history("begun")[1]["nodes"] == ["c1", "c3"]
        assert "(ft_launcher had started its ranks again once)" in said
        assert jobs_left(cluster, run) == []
    finally:
        heal(cluster)
