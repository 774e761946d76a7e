"""sbatch's options in the script: the launcher's own, and what a person has said instead."""

from __future__ import annotations

import pytest

from automodel_launch.errors import ProfileError
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, refused

PROFILE = """
[c]
executor = "slurm"
gpus_per_node = 4
container_image = "none"
remote_job_dir = "/shared/jobs"
"""


def _plan(bench: Bench, more: str = "") -> Plan:
    bench.env(PROFILE + more)
    return bench.plan(profile="c", environ={})


def _options(plan: Plan) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in plan.script.splitlines() if line.startswith("#SBATCH --")]
    found = dict(line.partition("=")[::2] for line in lines)
    assert len(found) == len(lines), "each option once"
    return found


def _srun(plan: Plan) -> list[str]:
    (line,) = [line for line in plan.script.splitlines() if line.startswith("srun --output")]
    return line.split()


@pytest.mark.parametrize(
    ("written", "may"),
    [
        ("", True),
        ("requeue = true", True),
        ("requeue = false", False),
        ('"no-requeue" = true', False),
        ('"no-requeue" = false', True),
        ('requeue = false, "no-requeue" = true', False),
        ('requeue = true, "no-requeue" = false', True),
    ],
)
@pytest.mark.parametrize("chain", [False, True])
def test_whether_slurm_may_requeue_a_job_is_the_persons_word(
    bench: Bench, written: str, may: bool, chain: bool
) -> None:
    """It stands in the script once. A chain is never requeued, and says so where somebody wants it to be."""
    more = f"additional_parameters = {{{written}}}\n" + ("chain = 2\n" if chain else "")
    if chain and may and written:
        refused(ProfileError, lambda: _plan(bench, more), "a chain queues its next job itself")
        return
    plan = _plan(bench, more)
    found = [name for name in _options(plan) if "requeue" in name]
    assert found == ["requeue" if may and not chain else "no-requeue"]
    assert "requeue" not in plan.submit


@pytest.mark.parametrize("written", ['requeue = true, "no-requeue" = true', 'requeue = "no"', '"no-requeue" = 1'])
def test_a_requeue_that_nobody_could_read_is_refused(bench: Bench, written: str) -> None:
    refused(ProfileError, lambda: _plan(bench, f"additional_parameters = {{{written}}}"), "requeue")


@pytest.mark.parametrize(
    "line",
    [
        'additional_parameters = {clusters = "other"}',
        'additional_parameters = {cluster = "other"}',
        'additional_parameters = {"cluster-constraint" = "x"}',
        'srun_args = ["--clusters=other"]',
        'srun_args = ["-Mother"]',
        'srun_args = ["-M", "other"]',
    ],
)
def test_another_cluster_is_refused(bench: Bench, line: str) -> None:
    """Its queue is asked by nobody here."""
    refused(ProfileError, lambda: _plan(bench, line), "another cluster", "env.toml [c]")


def test_limits_of_the_submitting_shell_stay_there_unless_they_are_asked_for(bench: Bench) -> None:
    assert _options(_plan(bench))["propagate"] == "NONE"
    assert _options(_plan(bench, 'additional_parameters = {propagate = "MEMLOCK"}'))["propagate"] == "MEMLOCK"
    assert "propagate" not in _options(_plan(bench, "additional_parameters = {propagate = false}"))


def test_a_job_knows_its_directory_wherever_sbatch_is_called(bench: Bench) -> None:
    plan = _plan(bench)
    assert _options(plan)["chdir"] == plan.job_dir


@pytest.mark.parametrize("more", ["", "exclusive = true", 'additional_parameters = {"cpus-per-gpu" = 8}'])
def test_cpus_are_asked_for_by_nobody_but_the_person(bench: Bench, more: str) -> None:
    plan = _plan(bench, more)
    assert "cpus-per-task" not in plan.script
    assert "--cpu-bind=none" in _srun(plan)


def test_a_persons_cpus_count_for_each_process_and_the_step_has_all_of_them(bench: Bench) -> None:
    plan = _plan(bench, 'cpus_per_task = 6\nsrun_args = ["--cpu-bind=cores"]')
    assert _options(plan)["cpus-per-task"] == "24"
    assert [word for word in _srun(plan) if word.startswith("--cpu")] == ["--cpu-bind=cores"]


def test_one_node_meets_at_any_free_port_and_several_at_one_of_their_own(bench: Bench) -> None:
    """A port that a person gives is that one."""
    assert _plan(bench).agent["rendezvous"]["port"] is None
    several = _plan(bench, "nodes = 2").agent["rendezvous"]
    assert (20000 <= several["port"] < 30000, several.get("fixed")) == (True, None)
    for nodes in (1, 2):
        given = _plan(bench, f"nodes = {nodes}\nrdzv_port = 4711").agent["rendezvous"]
        assert (given["port"], given["fixed"]) == (4711, True)


def test_a_comment_is_the_persons_alone(bench: Bench) -> None:
    assert "comment" not in _options(_plan(bench))
    text = """{"OccupiedIdleGPUsJobReaper": {"exemptIdleTimeMins": "60"}}"""
    assert _options(_plan(bench, f"comment = '{text}'"))["comment"] == f"'{text}'"
    refused(ProfileError, lambda: _plan(bench, 'comment = "a\\nb"'), "comment", "line break")
    refused(ProfileError, lambda: _plan(bench, 'additional_parameters = {comment = "x"}'), "comment = ...")


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        *(("arr", "array"), ("job-n", "job-name"), ("jo", "job-name"), ("chd", "chdir"), ("sig", "signal")),
        *(("out", "output"), ("com", "comment"), ("ntasks-per-n", "ntasks-per-node"), ("test-onl", "test-only")),
        *(("no-r", "no-requeue"), ("requeu", "requeue"), ("prop", "propagate"), ("part", "partition")),
    ],
)
def test_a_shortened_option_is_the_one_that_sbatch_takes_it_for(bench: Bench, short: str, whole: str) -> None:
    """Its guard is the same: what the launcher sets, and what it looks for, is set by nobody else."""
    more = f'additional_parameters = {{"{short}" = true}}'
    refused(ProfileError, lambda: _plan(bench, more), f"{short} (", f"which sbatch takes for {whole}")


@pytest.mark.parametrize("name", ["tasks-per-node", "workdir"])
def test_another_name_of_an_own_option_is_refused(bench: Bench, name: str) -> None:
    refused(ProfileError, lambda: _plan(bench, f'additional_parameters = {{"{name}" = "2"}}'), "the launcher sets")


@pytest.mark.parametrize(("short", "value"), [("mail-ty", "END"), ("beg", "now"), ("lic", "x:1"), ("site-arr", "x")])
def test_a_shortened_option_of_the_persons_own_is_carried(bench: Bench, short: str, value: str) -> None:
    assert _options(_plan(bench, f'additional_parameters = {{"{short}" = "{value}"}}'))[short] == value
