"""Jobs that are submitted from within an allocation, and what CPUs and limits a job gets, on nodes that bind tasks."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout
from tests.slurm import probe
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import start

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ONE_NODE = 'nodes = 1\ngpus_per_node = 2\nnproc_per_node = 1\naccount = "research"\n'
ALL = [0, 1]


@pytest.fixture(scope="module")
def binding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """2 nodes of 2 CPUs, to which Slurm binds what it starts."""
    if len(os.sched_getaffinity(0)) < len(ALL):
        pytest.skip("needs two CPUs")
    options = ("--nodes", "2", "--cpus", "2", "--gpus", "2", "--set", "TaskPlugin=task/affinity")
    yield from start(tmp_path_factory, *options)


def _site(tmp_path: Path, cluster: Cluster, more: str = "", launch: str = "python") -> Checkout:
    tmp_path.mkdir(exist_ok=True)
    site = probe.site(tmp_path, cluster, launch=launch)
    text = (site.root / "env.toml").read_text().replace("nodes = 2\ngpus_per_node = 8\nnproc_per_node = 1\n", ONE_NODE)
    (site.root / "env.toml").write_text(text + more)
    return site


def _inside(cluster: Cluster, *options: str) -> dict[str, str]:
    """The variables that Slurm sets in a shell of one CPU."""
    pairs = cluster.check("srun", "-n1", "-c1", *options, "env", "-0").split("\0")
    found = dict(pair.partition("=")[::2] for pair in pairs if pair.startswith(("SLURM_", "SBATCH_")))
    assert "SLURM_CPU_BIND" in found
    return found


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory, binding: Cluster) -> dict[str, Any]:
    """What a job finds that was submitted from a login node."""
    site = _site(tmp_path_factory.mktemp("outside"), binding, "exclusive = true\n")
    return probe.told(site.run("probe", "--run", "c", "--name", "outside"))


@pytest.mark.parametrize("options", [(), ("--mem-per-cpu=100",), ("--mem-per-gpu=100", "--gpus=1")])
def test_a_job_submitted_within_an_allocation_is_as_one_from_a_login_node(
    tmp_path: Path, binding: Cluster, outside: dict[str, Any], options: tuple[str, ...]
) -> None:
    """Not bound to the shell's CPUs, nor ended by its memory options."""
    site = _site(tmp_path, binding, "exclusive = true\n")
    site.environ |= {**_inside(binding, *options), "SBATCH_TIMELIMIT": "1", "SLURM_EXCLUSIVE": "1"}
    inside = probe.told(site.run("probe", "--run", "c", "--name", "inside"))
    assert inside["cpus"] == outside["cpus"] == ALL
    assert set(inside["slurm"]) == set(outside["slurm"])


def test_a_job_resumed_within_an_allocation_is_as_it_was(tmp_path: Path, binding: Cluster) -> None:
    site, until, job = _site(tmp_path, binding, "exclusive = true\n"), tmp_path / "go", tmp_path / "jobs" / "again.1"
    assert site.run("probe", "--batch", "c", "--name", "again", f"until={until}").returncode == 0
    outside = probe.wait_told(job)
    site.run("cancel", "again.1")
    wait_until(lambda: site.json("status", "again.1")["state"] == "CANCELLED", 120, "the job's end")
    until.touch()
    site.environ |= _inside(binding, "--mem-per-cpu=100")
    resumed = site.run("resume", "again.1")
    assert resumed.returncode == 0, resumed.stderr
    attached = site.run("attach", "again.1")
    assert attached.returncode == 0, attached.stderr
    *_, line = [line for line in (job / "logs" / "rank-0.log").read_text().splitlines() if line.startswith("probe ")]
    inside = json.loads(line.removeprefix("probe "))
    assert inside["cpus"] == ALL
    assert set(inside["slurm"]) == set(outside["slurm"])


@pytest.mark.parametrize(
    ("more", "cpus"),
    [
        ("exclusive = true\n", 2),
        ("exclusive = true\ncpus_per_task = 1\n", 2),
        ("cpus_per_task = 2\n", 2),
        ("cpus_per_task = 1\n", 1),
        ('additional_parameters = {"cpus-per-gpu" = 1}\n', 2),
        ('exclusive = true\nadditional_parameters = {"cpus-per-gpu" = 1}\n', 2),
        ('exclusive = true\nsrun_args = ["--cpu-bind=map_cpu:1"]\n', 1),
    ],
)
def test_a_rank_may_use_all_cpus_of_its_job(tmp_path: Path, binding: Cluster, more: str, cpus: int) -> None:
    launch = "torchrun" if "cpus_per_task = 2" in more else "python"
    told = probe.told(_site(tmp_path, binding, more, launch).run("probe", "--run", "c"))
    assert len(told["cpus"]) == cpus


def test_the_limits_of_the_submitting_shell_do_not_reach_the_job(tmp_path: Path, binding: Cluster) -> None:
    """A person may have them passed on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = soft - 7
    resource.setrlimit(resource.RLIMIT_NOFILE, (own, hard))
    try:
        site = _site(tmp_path, binding)
        assert probe.told(site.run("probe", "--run", "c", "--name", "a"))["files"][0] != own
        site = _site(tmp_path / "other", binding, 'additional_parameters = {"propagate" = "NOFILE"}\n')
        assert probe.told(site.run("probe", "--run", "c", "--name", "b"))["files"][0] == own
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_job_of_several_processes_that_asks_for_no_cpus_is_told_before(tmp_path: Path, binding: Cluster) -> None:
    """Slurm gives it one a node; where it asks for some there is nothing to say."""
    more = {"": True, "exclusive = true\n": False, "cpus_per_task = 1\n": False}
    more['additional_parameters = {"cpus-per-gpu" = 1}\n'] = False
    for number, (text, told) in enumerate(more.items()):
        site = _site(tmp_path / str(number), binding, text, "torchrun")
        (site.root / "env.toml").write_text((site.root / "env.toml").read_text().replace("nproc_per_node = 1", ""))
        plan = json.loads(site.run("probe", "--run", "c", "--dry-run", "--json").stdout)
        assert ("few-cpus" in [finding["code"] for finding in plan["findings"]]) == told, text
