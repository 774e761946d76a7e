"""A chain that has ended stays so, and a successor that dies before it begins does not end one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import bad_nodes, begin, chain, disk_reserve, files, finish, history, left_open

from tests.recipes.chain_site import AGENT, LIMITS, Site, exported


def content(site: Site) -> dict[str, bytes]:
    """Every file of the job and its run."""
    return {str(path): path.read_bytes() for root in (site.job, site.run) for path in root.rglob("*") if path.is_file()}


def ends_while_slurm_is_away(site: Site, state: str) -> None:
    """The first attempt is the last one, and slurmctld does not answer when it ends."""
    site.call("begin", "76")
    if state == "COMPLETED":
        site.node(0, code=0)
    else:
        site.node(0, failure={"code": 2, "error": "no such key", "time": 2.0}, code=2)
    away = 'echo "Unable to contact slurm controller" >&2; exit 1'
    for name in ("scancel", "squeue", "sbatch", "scontrol"):
        site.says(name, away)
    code = 0 if state == "COMPLETED" else 2
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == code
    assert (site.job / "chain").read_text() == "76 77 0 78\n"


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 2)])
def test_a_chain_that_has_ended_does_not_start_again(tmp_path: Path, state: str, code: int) -> None:
    site = Site(tmp_path, LIMITS)
    ends_while_slurm_is_away(site, state)
    before = content(site)
    for slurm_id in ("77", "78", "12"):  # those that wait, and one that somebody has submitted by hand
        site.says("squeue", "exit 0")
        done = site.call("begin", slurm_id)
        assert done.stdout.splitlines() == ["trap - EXIT", f"exit {code}"]
        assert "the job is over" in done.stderr and "launch.py resume" in done.stderr
        assert content(site) == before


def test_finish_leaves_alone_what_a_resume_has_brought_meanwhile(tmp_path: Path) -> None:
    """The batch script of the former attempt is late: those that wait, and the secrets, are the next one's."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    secrets = site.job / "secrets.env"
    secrets.touch()
    site.node(0, failure={"code": 2, "error": "no such key", "time": 2.0}, code=2, secrets_file=str(secrets))
    site.resume("90")
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == 2
    assert (site.job / "chain").read_text() == "76 90 0\n" and secrets.exists()
    (site.job / "resume").unlink()
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == 2
    assert (site.job / "chain").read_text() == "76 - 0\n" and not secrets.exists()


def test_a_history_that_could_not_be_written_is_no_word_to_go_on(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    ends_while_slurm_is_away(site, "FAILED")
    (site.run / "history.jsonl").unlink()
    assert "exit 2" in site.call("begin", "77").stdout


@pytest.mark.parametrize("reported", [True, False])
def test_a_job_that_was_lost_with_its_node_is_closed_in_slurms_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    """By the next job of its run, whether its agents had come to report or not; never while Slurm has it running."""
    site = Site(tmp_path, None)
    site.call("begin", "76")
    if reported:
        site.node(0, state="training")
    monkeypatch.setenv("PATH", f"{site.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "80")
    site.says("squeue", "echo RUNNING")
    later: Any = SimpleNamespace(run_dir=str(site.run), job_id="a.2", job_dir=str(site.job.with_name("a.2")))
    left_open.close_other_jobs(later, print)
    assert [row["event"] for row in history.read(str(site.run))] == ["begun"]
    site.says("squeue", "exit 0")
    site.says("scontrol", "echo JobId=76 JobState=NODE_FAIL StartTime=1000000 EndTime=1000600")
    for _ in range(2):
        left_open.close_other_jobs(later, print)
        _, end = history.read(str(site.run))
        assert (end["job_id"], end["state"], end["slurm_id"], end["allocated_s"]) == ("a.1", "NODE_FAIL", "76", 600.0)


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED"])
def test_a_chain_ends_though_the_disk_takes_no_record_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """Its batch script is lost and the disk full: the next job trains a completed run no more, nor for nothing."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    (site.job / ".reserve").unlink()
    if state == "COMPLETED":
        site.node(0, code=0)
    else:
        site.fail(0, "No space left on device")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (chain, finish, history):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(disk_reserve, "PATIENCE_S", 0.0)
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(files, "_write_some", lambda *_: 0)
    monkeypatch.setenv("PATH", f"{site.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(files, "_release", [])
    assert begin.main(str(site.job)) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == ["trap - EXIT", f"exit {int(state == 'FAILED')}"]
    assert state == "COMPLETED" or "no space left" in said.err
    assert "scancel --state=PENDING 78" in site.calls


def test_only_the_job_that_was_resumed_goes_on(tmp_path: Path) -> None:
    """Those that wait still do not take a person's word for theirs, whoever starts first."""
    site = Site(tmp_path, LIMITS)
    ends_while_slurm_is_away(site, "FAILED")
    site.resume("80")
    site.says("squeue", 'case "$*" in *80*) echo PENDING;; esac')
    assert site.call("begin", "77").stdout.splitlines() == ["trap - EXIT", "exit 0"]
    assert "export LAUNCH_ATTEMPT=1" in site.call("begin", "80").stdout
    site.says("squeue", 'case "$*" in *80*) echo RUNNING;; esac')
    assert "exit 0" in site.call("begin", "78").stdout.splitlines()
    assert (site.job / "exit-0.json").exists()


def test_an_operators_requeue_is_no_word_to_go_on(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.resume("76")  # and began with it
    ends_while_slurm_is_away(site, "FAILED")
    assert "exit 2" in site.call("begin", "76").stdout


def test_resume_after_a_job_that_left_no_word_of_its_end(tmp_path: Path) -> None:
    """`cancel --now`: no `finish`, and Slurm says CANCELLED."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.node(0, state="running")
    site.says("scontrol", "echo JobId=76 JobState=CANCELLED")
    site.resume("80")
    assert "export LAUNCH_ATTEMPT=1" in site.call("begin", "80").stdout


def test_a_job_that_dies_before_it_begins_is_replaced_by_the_spare_one(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.fail(0)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert site.call("finish", "77").returncode == 1  # its script was killed while `begin` ran
    assert (site.job / "chain").read_text() == "76 77 0 78\n"
    assert len([e for e in history.read(str(site.run)) if e["event"] == "ended"]) == 1
    site.says("squeue", "exit 0")
    site.says("scontrol", "echo JobId=77 JobState=FAILED BatchHost=c3 NodeList=c3")
    assert "export LAUNCH_ATTEMPT=1" in site.call("begin", "78").stdout
    assert (site.job / "chain").read_text() == "78 79 1 80\n"
    assert bad_nodes.names(str(tmp_path / "jobs")) == ["c3"]


def test_a_person_who_cancels_the_job_that_waits_wants_no_other(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.fail(0)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    site.says("squeue", "exit 0")
    site.says(
        "scontrol", 'case "$*" in *77) echo JobId=77 JobState=CANCELLED;; *) echo JobId=76 JobState=FAILED;; esac'
    )
    done = site.call("begin", "78")
    assert "exit 1" in done.stdout
    assert "somebody cancelled Slurm job 77" in done.stderr
    told = json.loads((site.job / "exit.json").read_text())
    assert (told["state"], told["goes_on"]) == ("CANCELLED", False)


def test_a_next_job_that_is_let_go_early_leaves_the_attempt_alone(tmp_path: Path) -> None:
    """An operator takes its dependency away while the attempt before it trains; an epilog keeps nobody back."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.fail(0)
    before = content(site)
    for state in ("RUNNING", "SUSPENDED"):
        site.says("squeue", f"echo {state}")
        done = site.call("begin", "77")
        assert done.stdout.splitlines() == ["trap - EXIT", "exit 0"] and "runs this job still" in done.stderr
        assert content(site) == before
    site.says("squeue", 'case "$*" in *76*) echo COMPLETING ;; *) echo PENDING ;; esac')
    assert exported(site.call("begin", "77"))["LAUNCH_ATTEMPT"] == "1"


def test_the_spare_job_is_never_first(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    assert site.call("begin", "78").stdout.splitlines() == ["trap - EXIT", "exit 0"]  # 77 waits
    assert (site.job / "chain").read_text() == "76 77 0 78\n"


def test_a_cluster_that_takes_no_spare_job(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.says("sbatch", 'case "$*" in *76:77*) echo "AssocMaxSubmitJobLimit" >&2; exit 1;; esac; echo 77')
    done = site.call("begin", "76")
    assert "a spare job behind Slurm job 77 cannot be submitted" in done.stderr
    assert (site.job / "chain").read_text() == "76 77 0\n"


def test_a_silent_slurmctld_loses_no_job_that_waits(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.says("squeue", 'echo "Unable to contact slurm controller" >&2; exit 1')
    site.fail(0)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert (site.job / "chain").read_text() == "76 77 0 78\n"


@pytest.mark.parametrize("there", [False, True])
def test_a_node_that_cannot_begin_is_kept_from_the_job_that_waits(tmp_path: Path, there: bool) -> None:
    """`there`: a Python that is killed before it has done anything; else none works."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.says("scontrol", "echo 'JobId=78 ReqNodeList=(null) ExcNodeList=c9 NodeList=(null)'")
    for version in ("", *(f".{minor}" for minor in range(8, 14))):
        site.says(
            f"python3{version}",
            'case "$*" in *sys.version*) echo 3.9.1; exit 0;; *) kill -9 $$;; esac' if there else "exit 1",
        )
    environ = {"PATH": f"{site.bin}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURMD_NODENAME": "c3"}

    def begin() -> str:
        words = ["sh", str(AGENT.with_suffix(".sh")), "begin", str(site.job)]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout

    assert begin().splitlines() == ["trap - EXIT", "exit 1"]
    assert "scontrol update JobId=78 ExcNodeList=c9,c3" in site.calls
    assert bad_nodes.names(str(tmp_path / "jobs")) == ["c3"]
    (site.job / "chain").unlink()
    assert begin() == ""  # the first attempt: it runs alone, and says so


@pytest.mark.parametrize(("shown", "state"), [("PreemptTime=1000500", "PREEMPTED"), ("PreemptTime=None", "CANCELLED")])
def test_a_job_of_one_attempt_that_ends_within_the_grace_of_a_preemption(
    tmp_path: Path, shown: str, state: str
) -> None:
    """Slurm calls it FAILED, does not requeue it, and forgets within minutes that it had preempted it."""
    site = Site(tmp_path, None)
    site.says("scontrol", f"echo JobId=76 JobState=RUNNING {shown} StartTime=1000000 EndTime=1000600")
    site.call("begin", "76")
    stop = {"signal": "SIGTERM", "number": 15, "time": 2.0, "reason": "signal"}
    site.node(0, code=143, stop=stop)
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == 143
    written = json.loads((site.job / "exit.json").read_text())
    assert written["state"] == state
    assert ("higher priority" in str(written["error"])) == (state == "PREEMPTED")
