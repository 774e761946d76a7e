"""Slurm's recorded answers to faulty launches (tests/faults/) are those of a real one."""

from __future__ import annotations

import os
from pathlib import Path

from automodel_launch import checks
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults.launches import Stage
from tests.slurm.cluster import Cluster


def test_a_real_cluster_answers_as_recorded(cluster: Cluster, tmp_path: Path) -> None:
    shared = launches.share(tmp_path)
    asked = [launch for launch in launches.faulty() if launch.part == "slurm" and "container" not in launch.name]
    assert len(asked) >= 10
    for launch in asked:
        stage = Stage(tmp_path / launch.name, *shared)
        launches.set_up(launch, stage)
        with launches.shell(launch, stage):
            os.environ.update(cluster.env, PATH=os.environ["PATH"].partition(":")[2])  # without the recorded commands
            try:
                found = checks.run(launches.plan(launch, stage))
            except LaunchError as error:
                raise AssertionError(f"{launch.name}: {error.message}") from error
        texts = [f.message for f in found if (f.code, f.level) == (launch.code, launch.level)]
        assert texts, f"{launch.name}: {found}"
        for line in str(launch.recorded.get("sbatch", "")).splitlines():
            assert line.rpartition(": ")[2] in " ".join(texts), launch.name
