"""What is planned together and would get in each other's way is refused before anything runs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.launch import pipelining, sweeping
from automodel_launch.plan.planset import Point
from tests.workbench import make_bench


@pytest.mark.parametrize("name", ["last", "all"])
def test_a_pipeline_whose_name_stands_for_jobs(tmp_path: Path, name: str) -> None:
    """`status last` would never show it."""
    bench = make_bench(tmp_path)
    with pytest.raises(ConfigError, match=f"`{name}` already stands for jobs") as refused:
        pipelining.Maker(bench.workspace, [], "local").all(tmp_path / f"{name}.yaml")
    assert f"{name}-1.yaml" in str(refused.value.hint)


def test_points_that_would_share_their_checkpoints(tmp_path: Path) -> None:
    """The second would go on with what the first has saved."""
    bench = make_bench(tmp_path).trains(own_recipe=True)
    for folder, shared in (("${run.dir}/checkpoints", False), (f"{tmp_path}/c", True)):
        config = f'checkpoint: {{checkpoint_dir: "{folder}"}}\nseed: 1\n'
        points = [Point((), bench.planned(config, f"seed={seed}"), None) for seed in (1, 2)]
        with pytest.raises(UsageError, match="in one directory") if shared else contextlib.nullcontext():
            sweeping._refuse_shared(points)
