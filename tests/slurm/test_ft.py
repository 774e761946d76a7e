"""`launcher = "ft"` under Slurm: a killed rank is started again within the job, and the history says so."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.slurm import learner
from tests.slurm.cluster import Cluster
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_truth import heal

FOUND = importlib.util.find_spec("nvidia_resiliency_ext")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="needs pip install nvidia-resiliency-ext"),
]


def test_a_killed_rank_is_started_again_within_the_job(tmp_path: Path, cluster: Cluster) -> None:
    assert FOUND is not None and FOUND.submodule_search_locations  # it has no __init__.py
    shutil.copytree(
        FOUND.submodule_search_locations[0], tmp_path / "packages" / "nvidia_resiliency_ext"
    )  # the nodes see it there
    more = f'launcher = "ft"\nenv_vars = {{PYTHONPATH = "{tmp_path}/packages"}}\n'
    site = learner.site(tmp_path, cluster, more)
    recipe = site.root / "recipes" / "learner.py"
    recipe.write_text(recipe.read_text().replace('launch = "python"', 'launch = "torchrun"'))
    try:
        run = Run(site, "steps=60")
        run.reach(0, 12)
        run.kill_rank(1)
        said = run.end()
        run.check(most_lost=5)
        assert run.states() == ["COMPLETED"]
        assert "restarted" in (run.dir / "events.jsonl").read_text(), said
        assert jobs_left(cluster, run) == []
    finally:
        heal(cluster)
