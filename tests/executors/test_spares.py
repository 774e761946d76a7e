"""`spares` of a profile: what is asked of Slurm, what it costs, and what it cannot go together with."""

from __future__ import annotations

import json
import re

import pytest

from automodel_launch.checks.places import slurm
from automodel_launch.commands import preview_summary
from automodel_launch.errors import LaunchError
from automodel_launch.launch import sweep_checking
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench

PROFILE = """[p]
executor = "slurm"
nodes = 2
gpus_per_node = 8
time = "01:00:00"
remote_job_dir = "/lustre/jobs"
"""


def plan(bench: Bench, *keys: str) -> Plan:
    bench.env(PROFILE + "".join(f"{key}\n" for key in keys))
    return bench.plan(profile="p", environ={}, offline=True)


def test_nodes_are_what_trains_and_slurm_is_asked_for_more(bench: Bench) -> None:
    made = plan(bench, "spares = 1", "max_gpu_hours = 100")
    lines = [line for line in made.script.splitlines() if line.startswith("#SBATCH ")]
    assert "#SBATCH --nodes=3" in lines and "#SBATCH --no-kill" in lines
    (step,) = re.findall(r"^srun --output.*", made.script, re.MULTILINE)
    assert step.index("--kill-on-bad-exit=1") < step.index("--no-kill --kill-on-bad-exit=0 --wait=0")
    assert (made.world_size, made.agent["nnodes"], made.agent["spares"]) == (16, 2, 1)
    assert made.agent["chain"]["gpus"] == 24


def test_a_job_without_spares_is_what_it_was(bench: Bench) -> None:
    with_none, without = plan(bench, "spares = 0"), plan(bench)
    assert "no-kill" not in without.script and "spares" not in without.agent
    assert json.dumps(dict(with_none.agent), default=list) == json.dumps(dict(without.agent), default=list)
    assert with_none.script == without.script


def test_its_cost_stands_in_the_dry_run(bench: Bench) -> None:
    made = plan(bench, "spares = 1")
    said = dict(preview_summary.lines(made, offline=True))
    assert "2 nodes x 8 processes = 16 ranks, 1 spare node in reserve" in said["where"]
    assert said["time"] == "01:00:00 = 24 GPU-hours"
    (finding,) = slurm.gpu_hours(made)
    assert finding.message.startswith("3 nodes x 8 GPUs x 01:00:00 (1 of the nodes spare) = 24.0 GPU-hours")
    assert sweep_checking.gpu_hours(made) == 24


def test_a_plain_script_has_no_use_for_them(bench: Bench) -> None:
    from automodel_launch.executors.slurm import plain

    text = plain.text(plan(bench, "spares = 1"), "run.files")
    assert "#SBATCH --nodes=2\n" in text and "no-kill" not in text


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("spares = -1",), ("spares", "0")),
        (("spares = 1.5",), ("spares",)),
        (('spares = "one"',), ("spares",)),
        (("spares = 1", "segment = 2"), ("3 nodes", "no multiple of segment = 2")),
        (("spares = 1", 'exclusive = "topo"'), ("exclusive", "network")),
        (("spares = 1", "additional_parameters = {no-kill = false}"), ("no-kill = false",)),
        (("spares = 1", 'additional_parameters = {no-kill = "off"}'), ("no-kill = 'off'",)),
        (("spares = 1", 'srun_args = ["--wait=0", "-W5"]'), ("'-W5'", "lost")),
        (("spares = 1", 'srun_args = ["--kill-on-bad-exit=1"]'), ("--kill-on-bad-exit=1", "lost")),
    ],
)
def test_what_is_refused(bench: Bench, keys: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(LaunchError) as refused:
        plan(bench, *keys)
    assert refused.value.exit_code == 2
    assert all(word in refused.value.message for word in words)


@pytest.mark.parametrize(
    "keys", [("spares = 2", "segment = 2"), ("spares = 1", 'srun_args = ["--kill-on-bad-exit=0"]', "exclusive = true")]
)
def test_what_comes_close_is_taken(bench: Bench, keys: tuple[str, ...]) -> None:
    assert plan(bench, *keys).agent["spares"]
