"""What is handed to Slurm for many jobs: one array, or a job each, with the limit in either."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from automodel_launch import contract
from automodel_launch.errors import ClusterError, ProfileError, SubmissionUnknown
from automodel_launch.executors import Order
from automodel_launch.executors.slurm import submission
from automodel_launch.executors.slurm.executor import Slurm
from automodel_launch.executors.slurm.together import TOGETHER
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.shell import Done
from tests.workbench import Bench

PROFILE = '[p]\nexecutor = "slurm"\nnproc_per_node = 1\nremote_job_dir = "/lustre/jobs"\ntime = "00:10:00"\n'
ORDER = Order("s", "/lustre/jobs/s.1")


def _plans(bench: Bench, count: int, *more: str, keys: str = "") -> list[Plan]:
    bench.env(PROFILE + keys)
    return [bench.plan(f"value={n}", *more, profile="p", environ={}, offline=True) for n in range(count)]


@pytest.mark.parametrize(
    ("at_most", "after", "array", "dependency"),
    [
        (None, (), "0-3", None),
        (2, (), "0-3%2", None),
        (4, (), "0-3", None),
        (9, ("7_1", "7_2"), "0-3", None),
        (3, ("7_1", "7_2"), "0-3%1", None),
        (2, ("7_1", "7_2", "9"), "0-3%2", "afterany:7:9"),  # none is free: all of them are, once those have ended
        (None, ("7_1",), "0-3", None),
    ],
)
def test_the_limit_of_an_array(
    bench: Bench, at_most: int | None, after: tuple[str, ...], array: str, dependency: str | None
) -> None:
    script = TOGETHER.script(_plans(bench, 4), Order("s", "/lustre/jobs/s.1", at_most, after))
    given = dict(re.findall(r"^#SBATCH --(\S+)=(.*)$", script, re.MULTILINE))
    assert (given["array"], given.get("dependency")) == (array, dependency)
    assert (given["job-name"], given["chdir"], given["time"]) == ("s.1", "/lustre/jobs/s.1", "00:10:00")


def test_a_dependency_of_the_profile_stays(bench: Bench) -> None:
    script = TOGETHER.script(_plans(bench, 2, keys='dependency = "afterok:5"\n'), Order("s", "/x/s.1", 1, ("7_1",)))
    assert "#SBATCH --dependency=afterok:5,afterany:7\n" in script and script.count("--dependency") == 1


def test_jobs_of_their_own(bench: Bench) -> None:
    plans = _plans(bench, 2, keys='chain = 3\nuntil = "done"\n')
    assert "--array" not in TOGETHER.script(plans, ORDER)
    assert TOGETHER.address(plans, ORDER) == {"together": "/lustre/jobs/s.1"}
    with pytest.raises(ProfileError) as refused:
        TOGETHER.script(plans, Order("s", "/x", stop_after=1))
    assert "--stop-after-failures" in refused.value.message and "chain" in refused.value.message
    assert "[ ${#ids[@]} -lt 1 ] || after=(--hold)" in TOGETHER.script(plans, Order("s", "/x", 1))
    assert [TOGETHER.waits_for_runs(plans, Order("s", "/x", most)) for most in (None, 1)] == [False, True]
    assert not TOGETHER.waits_for_runs(_plans(bench, 2), Order("s", "/x", 1))
    assert "--array" not in TOGETHER.script(_plans(bench, 2, keys="spares = 1\n"), ORDER)
    differ = [*_plans(bench, 1), *_plans(bench, 2, "run.env.time=00:05:00")[1:]]
    assert "${ids[-1]}" in TOGETHER.script(differ, Order("s", "/x", 1))


@pytest.mark.parametrize("room", [True, False])
def test_no_job_begins_after_too_many_failures(bench: Bench, tmp_path: Path, room: bool) -> None:
    jobs = [tmp_path / name for name in ("failed", "next")]
    (tmp_path / "jobs").write_text("".join(f"{job}\n" for job in jobs))
    for job in jobs:
        (job / "logs").mkdir(parents=True)
        (job / "script").write_text("[ -e stop ] && echo ended >> told || echo trained >> told\n")
    (jobs[0] / contract.EXIT).write_text('{"state": "FAILED", "code": 7}')
    (jobs[1] / contract.SECRETS).write_text("TOKEN=x\n")
    if not room:  # the name of a file cannot be made
        (jobs[1] / contract.STOP).symlink_to("no/such/folder/file")
    script = TOGETHER.script(_plans(bench, 2), Order("s", str(tmp_path), stop_after=1))
    task = {**os.environ, "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "5"}
    done = subprocess.run(["bash", "-s"], input=script, env=task, capture_output=True, text=True, check=False)
    told = jobs[1] / "told"
    assert not (jobs[1] / contract.SECRETS).exists()
    if room:
        assert (done.returncode, told.read_text()) == (0, "ended\n")
    else:
        assert (done.returncode, told.exists()) == (contract.TERMINATED, False)
        assert "next: not begun, after 1 failures" in done.stderr


class Answers:
    """A shell that answers sbatch so, and has nothing in its queue."""

    place = "there"

    def __init__(self, done: Done | ClusterError) -> None:
        self.done = done

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        if "squeue" in script:
            return Done(0, "line 1\n", "")
        if isinstance(self.done, ClusterError):
            raise self.done
        return self.done


@pytest.mark.parametrize(
    ("done", "ids", "error"),
    [
        (Done(0, "12\n", ""), ["12_0", "12_1"], None),
        (Done(1, "", "sbatch: error: invalid account"), [None, None], ClusterError),
        (Done(1, "", "sbatch: error: Socket timed out on send/recv operation"), [None, None], ClusterError),
        (Done(0, "", ""), [None, None], ClusterError),
        (ClusterError("the connection broke"), [None, None], ClusterError),
    ],
)
def test_what_sbatch_has_said_of_an_array(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    done: Done | ClusterError,
    ids: list[str | None],
    error: type[ClusterError] | None,
) -> None:
    """An answer that is lost is looked up; what is not there then was not submitted."""
    monkeypatch.setattr(submission, "LOOKUP_S", 0.0)
    monkeypatch.setattr(Slurm, "shell", lambda self, profile: Answers(done))
    handed = TOGETHER.submit(_plans(bench, 2), ORDER)
    assert [handle and handle["slurm_id"] for handle in handed.handles] == ids
    assert type(handed.error) is (error or type(None))


def test_some_of_several_jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch refuses the second, and the others are not tried; or nobody knows what became of them."""
    plans = _plans(bench, 3, keys="chain = 2\n")
    first = f"12 {plans[0].job_dir}\n"
    for said, error in (("sbatch: error: QOSMaxSubmitJobPerUserLimit", ClusterError), ("", SubmissionUnknown)):
        answers = Answers(Done(1 if said else 0, first, said))
        monkeypatch.setattr(Slurm, "shell", lambda self, profile, shell=answers: shell)
        handed = TOGETHER.submit(plans, ORDER)
        assert handed.handles == ({"slurm_id": "12"}, None, None)
        assert type(handed.error) is error
