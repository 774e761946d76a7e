"""What a cluster gives a job that asks for nothing, from recorded words of several clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch.checks.places import slurm_defaults
from automodel_launch.remote.probes import Result, Results
from tests.workbench import Bench, make_bench

PROFILE = """
[c]
executor = "slurm"
gpus_per_node = 8
container_image = "none"
remote_job_dir = "/shared/jobs"
"""
CONFIG = """\
ClusterName             = here
JobDefaults             = {defaults}
SelectType              = {select}
SelectTypeParameters    = CR_CORE_MEMORY"""
PARTITION = (
    "PartitionName=batch AllowGroups=ALL Default=YES MaxTime=UNLIMITED OverSubscribe={shared} JobDefaults={defaults}"
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _codes(
    bench: Bench,
    more: str = "",
    *,
    select: str = "select/cons_tres",
    shared: str = "NO",
    defaults: tuple[str, str] = ("(null)", "(null)"),
    chosen: str = "",
) -> list[str]:
    bench.env(PROFILE + more)
    texts = {"chosen": chosen, "config": CONFIG.format(select=select, defaults=defaults[0])}
    texts["partitions"] = PARTITION.format(shared=shared, defaults=defaults[1])
    answers = Results({name: Result(0, text) for name, text in texts.items()}, 0.0)
    plan = bench.plan(profile="c", environ={})
    return [finding.code for finding in slurm_defaults.findings(plan, ["batch"], answers)]


@pytest.mark.parametrize(
    "more", ["", "exclusive = false", 'exclusive = "user"', 'additional_parameters = {"mail-type" = "END"}']
)
def test_several_processes_on_the_one_cpu_that_shared_nodes_give_are_a_warning(bench: Bench, more: str) -> None:
    assert _codes(bench, more) == ["few-cpus"]


@pytest.mark.parametrize(
    "more",
    [
        "nproc_per_node = 1",
        "cpus_per_task = 1",
        "exclusive = true",
        'additional_parameters = {"cpus-per-gpu" = 8}',
        "additional_parameters = {mincpus = 8}",
    ],
)
def test_a_job_that_asks_for_cpus_is_no_finding(bench: Bench, more: str) -> None:
    assert _codes(bench, more) == []


def test_a_cluster_that_gives_enough_is_no_finding(bench: Bench) -> None:
    per_gpu = "DefCpuPerGPU=12,DefMemPerGPU=1000"
    assert _codes(bench, select="select/linear") == []
    assert _codes(bench, shared="EXCLUSIVE") == []
    assert _codes(bench, defaults=(per_gpu, "(null)")) == []
    assert _codes(bench, defaults=("(null)", per_gpu)) == []


def test_a_cluster_that_does_not_answer_is_no_finding(bench: Bench) -> None:
    bench.env(PROFILE)
    plan = bench.plan(profile="c", environ={})
    assert list(slurm_defaults.findings(plan, ["batch"], Results({}, 0.0))) == []


@pytest.mark.parametrize("name", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_a_shell_that_means_another_cluster_is_refused(bench: Bench, name: str) -> None:
    for value, expected in (
        ("there", ["another-cluster"]),
        ("here,there", ["another-cluster"]),
        ("here", []),
        ("", []),
    ):
        assert _codes(bench, "exclusive = true", chosen=f"{name}={value}") == expected, value
