"""Handing a script to sbatch, with commands that answer as Slurm's do when something is in the way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.errors import ClusterError, StillSubmitting, SubmissionUnknown
from automodel_launch.executors.containers import image_cache
from automodel_launch.executors.slurm import cancelling, executor, submission
from automodel_launch.jobs.records import Record
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import slurm_query, slurm_site
from automodel_launch.remote.shell import Done, LocalShell
from automodel_launch.remote.slurm_query import Answer
from tests.workbench import Bench, make_bench

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr("automodel_launch.executors.slurm.executor.Slurm.script", lambda self, plan: "")
    monkeypatch.setattr(submission, "LOOKUPS", 4)
    monkeypatch.setattr(submission, "LOOKUP_S", 0.0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    bench: Bench = make_bench(tmp_path)
    bench.env('[far]\nexecutor = "slurm"\naccount = "a"\nnodes = 1\ngpus_per_node = 1\ncontainer_image = "none"\n')
    plan = bench.plan(profile="far")
    Path(plan.job_dir).mkdir(parents=True)
    return plan


def _command(tmp_path: Path, name: str, text: str) -> Path:
    """A command of that name, which counts its calls in a file beside it."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho x >> {path}.calls\n{text}\n")
    path.chmod(0o755)
    return Path(f"{path}.calls")


def test_a_controller_that_is_down_is_said_at_once(plan: Plan, tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    _command(tmp_path, "sbatch", f"echo '{said}' >&2; exit 1")
    asked = _command(tmp_path, "squeue", "exit 1")
    with pytest.raises(ClusterError, match="slurmctld cannot be reached") as caught:
        submission.sbatch(LocalShell(), plan)
    assert "nothing was submitted" in str(caught.value.hint)
    assert not asked.exists()


LINES = {
    "renamed": "18|{0}/script|/|other|",
    "commented": '18|{0}/script|{0}|{1}|{{"a": "b|c"}}',
    "a site's sbatch submits a copy": "18|/tmp/copy.sh|{0}|{1}|",
    "an earlier version": "18|./script|/real|{1}|{0}",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_an_answer_that_was_lost_is_found_by_the_script(plan: Plan, tmp_path: Path, line: str) -> None:
    """Or by the comment, which was the job's directory in an earlier version."""
    sent = _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    said = line.format(plan.job_dir, plan.job_id)
    _command(tmp_path, "squeue", f"echo '17|/somebody/else/script|/|x|'; echo '{said}'")
    assert submission.sbatch(LocalShell(), plan) == "18"
    assert len(sent.read_text().split()) == 1  # never submitted twice


def test_another_job_is_not_ours(plan: Plan, tmp_path: Path) -> None:
    """Of another directory, or a shell that somebody has opened in the job's own."""
    _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    mine = plan.job_dir
    others = [f"17|{mine}0/script|/|x|", "18||||", f"19|bash|{mine}|bash|", f"20|{mine}/other|{mine}|other|"]
    others += [f"21||||{mine} x", f"22|/elsewhere/script|/elsewhere|{plan.job_id}|", f"23||/x|{mine}|"]
    asked = _command(tmp_path, "squeue", "\n".join(f"echo '{line}'" for line in others))
    with pytest.raises(ClusterError, match="did not submit"):
        submission.sbatch(LocalShell(), plan)
    assert len(asked.read_text().split()) == 3


def test_it_is_not_known_while_slurm_does_not_answer(plan: Plan, tmp_path: Path) -> None:
    _command(tmp_path, "sbatch", f"echo '{TIMED_OUT}' >&2; exit 1")
    _command(tmp_path, "squeue", "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1")
    with pytest.raises(SubmissionUnknown, match="is not known"):
        submission.sbatch(LocalShell(), plan)


@pytest.mark.parametrize("left", ["chain", "log"])
def test_a_job_that_slurm_has_forgotten_is_found_by_what_it_left(plan: Plan, tmp_path: Path, left: str) -> None:
    _command(tmp_path, "squeue", "true")
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir) is None
    if left == "chain":
        Path(plan.job_dir, "chain").write_text("41 42 0\n")
    else:
        Path(plan.job_dir, "logs").mkdir()
        Path(plan.job_dir, "logs", f"sbatch_{plan.job_id}_41.out").write_text("")
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir) == "41"


def test_the_submitters_sbatch_variables_do_not_reach_sbatch(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "wrong")
    seen = tmp_path / "environ"
    _command(tmp_path, "sbatch", f"env > {seen}; echo 5")
    assert submission.sbatch(LocalShell(), plan) == "5"
    assert "SBATCH_" not in seen.read_text()
    assert plan.submit.startswith("unset ${!SBATCH_@}; "), "who submits by hand what the dry run shows, too"
    _command(tmp_path, "scontrol", "true")
    Path(plan.job_dir, contract.SCRIPT).touch()
    seen.unlink()
    assert submission.again(LocalShell(), plan.job_id, plan.job_dir, 4, None) == "5"
    assert "SBATCH_" not in seen.read_text()


CALLS: dict[str, Callable[[LocalShell, Plan], Any]] = {
    "sbatch": lambda shell, plan: submission.sbatch(shell, plan),
    "again": lambda shell, plan: submission.again(shell, plan.job_id, plan.job_dir, 4, None),
    "find": lambda shell, plan: submission.find(shell, plan.job_id, plan.job_dir),
    "leave": lambda shell, plan: submission.wait_until_left(shell, plan.job_id, plan.job_dir),
    "status": lambda shell, plan: shell.run(slurm_query.query("5", plan.job_dir)),
    "cancel": lambda shell, plan: shell.run(cancelling.script(_record(plan), now=True)),
    "image": lambda shell, plan: shell.attached(image_cache.submit_script(plan.profile, "true")),
    "test-only": lambda shell, plan: shell.run(f"exec 3</dev/null\n{slurm_site.TEST_ONLY}"),
}


@pytest.mark.parametrize("call", CALLS)
def test_slurms_commands_get_nothing_of_an_allocation_or_a_persons_defaults(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Only where the cluster is. What a shell within an allocation has would reach the job, or be asked instead."""
    Path(plan.job_dir, contract.SCRIPT).touch()
    kept = {"SLURM_CONF": "/etc/x", "SLURM_CONF_SERVER": "ctl:1", "SLURM_JWT": "t"}
    mine = dict.fromkeys(("SLURM_JOB_ID", "SLURM_CPU_BIND", "SLURM_MEM_PER_CPU", "SLURM_CLUSTERS", "SLURM_CONFIG"), "1")
    mine |= dict.fromkeys(("SBATCH_CLUSTERS", "SLURM_TIME_FORMAT"), "1")
    if call not in ("sbatch",):
        mine |= dict.fromkeys(("SQUEUE_STATES", "SCANCEL_INTERACTIVE"), "1")
    for name, value in {**kept, **mine}.items():
        monkeypatch.setenv(name, value)
    seen = tmp_path / "environ"
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct", "srun"):
        _command(tmp_path, name, f"env >> {seen}; [ {name} != sbatch ] || echo 5")
    CALLS[call](LocalShell(), plan)
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names & set(mine) == set()
    assert set(kept) <= names


def _record(plan: Plan) -> Record:
    return Record(
        plan.job_id, "a", "r", "c", "far", "slurm", "batch", plan.job_dir, plan.run_dir, "h", 1.0, None, {"slurm_id": 5}
    )


def _to_another_cluster(tmp_path: Path, plan: Plan, here: bool) -> Path:
    """A site's own sbatch chooses a cluster: this one, by its name, or another."""
    _command(tmp_path, "sbatch", "echo '5;other'")
    asked = f"echo '5|{plan.job_dir}/script|'" if here else "echo 'Invalid job id specified' >&2; exit 1"
    _command(tmp_path, "squeue", asked)
    _command(tmp_path, "scontrol", "true")
    _command(tmp_path, "scancel", f'echo "$*" > {tmp_path}/ended')
    return tmp_path / "ended"


@pytest.mark.parametrize("call", ["sbatch", "again"])
def test_a_job_that_went_to_another_cluster_is_cancelled_there(plan: Plan, tmp_path: Path, call: str) -> None:
    """Nobody could follow it."""
    Path(plan.job_dir, contract.SCRIPT).touch()
    ended = _to_another_cluster(tmp_path, plan, here=False)
    with pytest.raises(ClusterError, match="another cluster"):
        CALLS[call](LocalShell(), plan)
    assert ended.read_text().split() == ["-M", "other", "5"]


@pytest.mark.parametrize("call", ["sbatch", "again"])
def test_a_cluster_that_is_this_one_is_no_other(plan: Plan, tmp_path: Path, call: str) -> None:
    Path(plan.job_dir, contract.SCRIPT).touch()
    ended = _to_another_cluster(tmp_path, plan, here=True)
    assert CALLS[call](LocalShell(), plan) == "5"
    assert not ended.exists()


def test_whether_slurm_may_requeue_stands_in_the_script_alone(plan: Plan) -> None:
    assert plan.submit.endswith(f"sbatch --parsable {plan.job_dir}/script")


def _wait(plan: Plan) -> None:
    submission.wait_until_left(LocalShell(), plan.job_id, plan.job_dir)


def test_a_job_is_submitted_again_once_slurm_is_done_with_it(plan: Plan, tmp_path: Path) -> None:
    asked = _command(
        tmp_path, "squeue", f"[ $(wc -l < $0.calls) -gt 2 ] || echo '7 COMPLETING|{plan.job_dir}/script|x'"
    )
    _command(tmp_path, "sleep", "true")
    _wait(plan)
    assert len(asked.read_text().split()) == 3


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING"])
def test_it_is_not_waited_for_without_end(
    plan: Plan, tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epilog may take its time; a batch script that runs on is another matter."""
    monkeypatch.setattr(submission, "LEAVE_S", 2)
    _command(tmp_path, "squeue", f"echo '7 RUNNING|/else/script|'; echo '8 {state}|{plan.job_dir}/script|'")
    _command(tmp_path, "sleep", "true")
    if state == "COMPLETING":
        _wait(plan)
        return
    with pytest.raises(ClusterError, match="its Slurm job 8 is still RUNNING") as caught:
        _wait(plan)
    assert "scancel 8" in str(caught.value.hint)


@pytest.mark.parametrize("meanwhile", ["nothing", "brought", "at it", "before"])
def test_a_look_does_not_take_the_secrets_that_a_resume_brings(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """After the look at the former attempt somebody resumes the job, and has brought its secrets or is about to."""
    file, lock = Path(plan.job_dir, "secrets.env"), Path(plan.job_dir, contract.SUBMISSION)
    file.write_text("former")
    monkeypatch.setattr(slurm_query, "parse", lambda out, job: Answer(True, "CANCELLED"))
    _command(tmp_path, "squeue", "true")
    held = lock.open("a")
    if meanwhile == "before":  # it is at it when the look begins, and done when Slurm has been asked
        fcntl.flock(held, fcntl.LOCK_EX)

    class Meanwhile(LocalShell):
        calls = 0

        def run(self, *args: Any, **more: Any) -> Done:
            self.calls += 1
            if self.calls == 2 and meanwhile == "brought":
                file.unlink()
                file.write_text("of the next attempt")
            if self.calls == 2 and meanwhile == "at it":
                fcntl.flock(held, fcntl.LOCK_EX)
            if self.calls == 2 and meanwhile == "before":
                fcntl.flock(held, fcntl.LOCK_UN)
            return super().run(*args, **more)

    shell = Meanwhile()
    monkeypatch.setattr(executor, "_shell", lambda values: shell)
    assert executor.EXECUTOR.status(_record(plan)).state == "CANCELLED"
    assert (shell.calls, file.exists()) == (1 if meanwhile == "before" else 2, meanwhile != "nothing")
    held.close()


def test_secrets_of_a_job_that_may_come_again_are_kept_for_a_while(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm requeues a job whose node has failed, or an attempt of its chain waits; not for ever."""
    file = Path(plan.job_dir, "secrets.env")
    file.touch()
    monkeypatch.setattr(slurm_query, "parse", lambda out, job: Answer(True, "NODE_FAIL"))
    _command(tmp_path, "squeue", "true")
    record = Record(
        plan.job_id, "a", "r", "c", "far", "slurm", "batch", plan.job_dir, plan.run_dir, "h", 1.0, None, {"slurm_id": 5}
    )
    assert executor.EXECUTOR.status(record).state == "NODE_FAIL"
    assert file.exists()
    for path in (Path(plan.job_dir), *Path(plan.job_dir).rglob("*")):
        os.utime(path, (0, 0))
    executor.EXECUTOR.status(record)
    assert not file.exists()


def test_secrets_come_with_the_command_that_submits_again(plan: Plan, tmp_path: Path) -> None:
    """And never in its words; a file that was left there before is replaced, whoever may read that one."""
    file = Path(plan.job_dir, "secrets.env")
    file.write_text("former")
    file.chmod(0o644)
    Path(plan.job_dir, contract.SCRIPT).touch()
    _command(tmp_path, "sbatch", f"cp {file} {tmp_path}/seen; echo 19")
    _command(tmp_path, "scontrol", "true")
    assert submission.again(LocalShell(), plan.job_id, plan.job_dir, 18, b"A='x'\n") == "19"
    assert file.read_bytes() == (tmp_path / "seen").read_bytes() == b"A='x'\n"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("state", ["held", "let go"])
def test_a_resume_that_was_cut_short_behind_sbatch_is_completed(plan: Plan, tmp_path: Path, state: str) -> None:
    """The job is held until JOB_DIR/resume names it: nobody else would ever let it begin."""
    held, job = "JobHeldUser" if state == "held" else "None", f"{plan.job_dir}/{contract.SCRIPT}|"
    _command(
        tmp_path,
        "squeue",
        f"case $* in *%r*) echo {held};; *) printf '%s\\n' '18|{job}' '19|{job}';; esac",
    )
    released = _command(tmp_path, "scontrol", "true")
    Path(plan.job_dir, "chain").write_text("18 - 3\n")
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir, 18) == "19"
    assert released.exists() == (state == "held")
    if state == "held":
        assert Path(plan.job_dir, "resume").read_text() == "19\n"
        assert Path(plan.job_dir, "chain").read_text() == "18 19 3\n"


def test_a_resumed_job_is_being_resumed_until_it_is_let_go(plan: Plan, tmp_path: Path) -> None:
    """Its id is known while sbatch is at it; whoever looked then took the former attempt's end for its own."""
    lock = Path(plan.job_dir, contract.SUBMISSION)
    _command(tmp_path, "squeue", f"case $* in *%r*) echo JobHeldUser ;; *) echo '19|{plan.job_dir}/script|' ;; esac")
    released = _command(tmp_path, "scontrol", "true")
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StillSubmitting):
            submission.find(LocalShell(), plan.job_id, plan.job_dir, after=18)
        assert submission.find(LocalShell(), plan.job_id, plan.job_dir) == "19"
        assert not released.exists()
    assert submission.find(LocalShell(), plan.job_id, plan.job_dir, after=18) == "19"
    assert released.exists() and Path(plan.job_dir, "resume").read_text() == "19\n"


@pytest.mark.parametrize("call", ["find", "leave"])
def test_nobody_elses_queue_is_asked_for(plan: Plan, tmp_path: Path, call: str) -> None:
    """Only for the jobs of this user, and of whose directory it is: a large site has very many others."""
    os.chown(plan.job_dir, 4321, -1)
    _command(tmp_path, "squeue", f'echo "$*" > {tmp_path}/asked')
    CALLS[call](LocalShell(), plan)
    assert f"-u {os.getuid()},4321 " in (tmp_path / "asked").read_text()
