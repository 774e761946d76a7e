"""What is said of `--mpi`, by what a real srun (22.05.8, and the form of 20.11) lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch.checks.places import slurm_mpi
from automodel_launch.remote.probes import Result, Results
from tests.workbench import make_bench

NEW = (
    "MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n"
)
OLD = "srun: MPI types are...\nsrun: none\nsrun: pmi2\n"


@pytest.mark.parametrize(
    ("words", "listed", "level"),
    [
        ('"--mpi=pmx"', NEW, "error"),
        ('"--mpi", "pmx"', OLD, "error"),
        ('"--mpi=pmix"', OLD, "warning"),
        ('"--mpi=pmix_v3"', NEW, "warning"),
        ('"--mpi=pmix_v4"', NEW, None),
        ('"--mpi=pmi2"', OLD, None),
        ('"--mpi=none"', NEW, None),
        ('"--mpi=pmx"', "srun: fatal: Could not establish a configuration source\n", None),
        ('"--wait=60"', NEW, None),
    ],
)
def test_a_plug_in_that_is_not_there(tmp_path: Path, words: str, listed: str, level: str | None) -> None:
    bench = make_bench(tmp_path)
    bench.env(
        f'[p]\nexecutor = "slurm"\ngpus_per_node = 1\ncontainer_image = "none"\nsrun_args = [{words}]\n', local=False
    )
    plan = bench.plan(profile="p")
    assert set(slurm_mpi.asked(plan)) == ({"mpi"} if "mpi" in words else set())
    found = list(slurm_mpi.answered(plan, Results({"mpi": Result(0, listed)}, 0.0)))
    assert [one.level for one in found] == ([level] if level else [])
