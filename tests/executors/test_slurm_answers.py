"""What Slurm says of a job, and what that means: every state, and every way in which it cannot be asked."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.contract import ENDED
from automodel_launch.contract import SLURM_ACTIVE as ACTIVE
from automodel_launch.contract import SLURM_BEFORE_REQUEUE as BEFORE_REQUEUE
from automodel_launch.contract import SLURM_FAILURES as FAILURES
from automodel_launch.contract import SLURM_WAITING as WAITING
from automodel_launch.executors.slurm import state as state_
from automodel_launch.executors.slurm.state import Own, judge
from automodel_launch.remote import slurm_query
from automodel_launch.remote.shell import LocalShell
from automodel_launch.remote.slurm_query import Answer, Job, parse

JOB = Job("a.1", "/jobs/a.1")
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
NO_JOB = "slurm_load_jobs error: Invalid job id specified"
NO_SACCT = "Slurm accounting storage is disabled"
SHOW = "JobId=5 JobName=a.1 UserId=u(1) Priority=1 JobState={} Reason={} ExitCode={} NodeList=c[1-2] WorkDir=/jobs/a.1"


def own(state: str | None = None, log: str = "", node: dict[str, Any] | None = None, **values: Any) -> Own:
    """What a job has left: keys of exit.json, and what else `Own` tells."""
    names = ("stopped", "paused", "resumed", "chained", "age", "restarts")
    more = {name: values.pop(name) for name in names if name in values}
    complete = {"complete": True, "code": 0 if state == "COMPLETED" else 1, "error": None, **values}
    return Own(
        {"state": state, **complete} if state else None, node, log, "logs/sbatch_a.1_5.out" if log else None, **more
    )


# What is said


def test_a_running_job() -> None:
    assert parse("squeue 0 RUNNING|None|2026-01-01T00:00:00|c[1-2,4]|/jobs/a.1|a.1|\n", JOB) == Answer(
        True, "RUNNING", None, "2026-01-01T00:00:00", "c[1-2,4]"
    )


def test_a_job_that_waits() -> None:
    answer = parse("squeue 0 PENDING|(Resources)|N/A||/jobs/a.1|a.1|\n")
    assert (answer.state, answer.reason, answer.start, answer.nodes) == ("PENDING", "(Resources)", None, None)


def test_a_job_that_has_ended() -> None:
    text = "squeue 0 \nscontrol 0 " + SHOW.format("FAILED", "NonZeroExitCode", "7:0")
    answer = parse(text, JOB)
    assert (answer.state, answer.code, answer.signal, answer.nodes) == ("FAILED", 7, 0, "c[1-2]")


def test_a_comment_is_not_taken_for_a_state() -> None:
    assert (
        parse("scontrol 0 " + SHOW.format("FAILED", "x", "1:0") + " AdminComment=JobState=COMPLETED").state == "FAILED"
    )
    assert parse("scontrol 0 " + SHOW.format("FAILED", "x", "1:0") + " JobState=COMPLETED").state == "FAILED"


def test_the_last_line_of_sacct_counts() -> None:
    lines = ["NODE_FAIL|0:0|c1||a.1|", "PREEMPTED|0:0|c2||a.1|", "CANCELLED by 0|0:15|c[3-4]||a.1|"]
    text = f"squeue 1 {NO_JOB}\nscontrol 1 {NO_JOB}\n" + "".join(f"sacct 0 {line}\n" for line in lines)
    assert parse(text, JOB) == Answer(True, "CANCELLED", None, None, "c[3-4]", 0, 15)


@pytest.mark.parametrize("state", sorted(BEFORE_REQUEUE - WAITING))
def test_an_old_attempt_in_sacct_is_no_end_while_slurmctld_is_away(state: str) -> None:
    assert parse(f"squeue 1 {DOWN}\nsacct 0 {state}|0:0|c1||a.1|", JOB) == Answer(False)
    assert parse(f"squeue 1 {NO_JOB}\nsacct 0 {state}|0:0|c1||a.1|", JOB).state == state


def test_sacct_has_never_heard_of_the_end() -> None:
    assert parse(f"squeue 1 {DOWN}\nsacct 0 RUNNING|0:0|c1||a.1|", JOB).state == "RUNNING"
    assert parse(f"squeue 1 {NO_JOB}\nsacct 0 RUNNING|0:0|c1||a.1|", JOB) == Answer(True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "squeue",
        "squeue 0",
        f"squeue 1 {DOWN}\nsacct 1 {NO_SACCT}",
        "squeue 124 \nsacct 127 timeout: failed to run command 'sacct': No such file or directory",
        "squeue 1 slurm_load_jobs error: Socket timed out on send/recv operation\nsacct 124 ",
        "squeue 127 timeout: failed to run command 'squeue'\nscontrol 127 x\nsacct 127 x",
        f"squeue 0 \nscontrol 1 {DOWN}\nsacct 1 {NO_SACCT}",
        f"squeue 0 \nscontrol 1 {DOWN}\nsacct 0 ",
        "squeue 0 JOBID PARTITION NAME USER ST\nscontrol 0 \nsacct 0 ",
        "squeue 0 error|x\nscontrol 0 garbage\nsacct 0 |||",
        "Welcome to the cluster\nsqueue is broken today, sorry",
        "squeue 139 \nscontrol 139 \nsacct 139 ",
    ],
)
def test_what_is_no_answer_is_unknown(text: str) -> None:
    answer = parse(text, JOB)
    assert answer == Answer(False)
    status = judge(answer, Own())
    assert (status.state, status.over, status.forgotten) == ("UNKNOWN", False, False)


def test_a_job_that_slurm_does_not_know() -> None:
    answer = parse(f"squeue 1 {NO_JOB}\nscontrol 1 {NO_JOB}\nsacct 1 {NO_SACCT}", JOB)
    assert answer == Answer(True)
    assert judge(answer, Own()).forgotten
    assert judge(answer, own("FAILED", error="boom", code=7)).code == 7


@pytest.mark.parametrize(
    "line",
    [
        "squeue 0 RUNNING|||c1||other|",
        "squeue 0 RUNNING|||c1|/elsewhere/a.1|a.1|/idle/is/fine",
        "squeue 0 RUNNING|||c1|/elsewhere/a.1|a.1|",
        "sacct 0 FAILED|1:0|c1||other|",
        "sacct 0 FAILED|1:0|c1|/elsewhere/a.1|a.1|",
        "scontrol 0 " + SHOW.replace("a.1", "other"),
    ],
)
def test_another_job_of_that_id(line: str) -> None:
    """On another cluster, or where ids have begun anew."""
    assert parse(line.format("FAILED", "x", "1:0"), JOB) == Answer(True)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("squeue 0 RUNNING|||c1|/jobs/a.1|renamed|", "RUNNING"),
        ("sacct 0 FAILED|1:0|c1|/jobs/a.1|renamed|", "FAILED"),
        ("scontrol 0 " + SHOW.replace("JobName=a.1", "JobName=renamed").format("FAILED", "x", "1:0"), "FAILED"),
        ('squeue 0 RUNNING|||c1|/jobs/a.1|renamed|{"reaper": "no|idle"}', "RUNNING"),
        ('sacct 0 FAILED|1:0|c1|/jobs/a.1|renamed|{"reaper": "no|idle"}', "FAILED"),
        ("scontrol 0 " + SHOW.format("FAILED", "x", "1:0") + " Comment=a JobState=COMPLETED WorkDir=/b", "FAILED"),
    ],
)
def test_a_job_that_somebody_has_renamed_or_commented(line: str, state: str) -> None:
    assert parse(line, JOB).state == state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("squeue 0 RUNNING|||c1|/real/jobs/a.1|renamed|/jobs/a.1", "RUNNING"),
        ("sacct 0 FAILED|1:0|c1|/real/jobs/a.1|renamed|/jobs/a.1", "FAILED"),
        ("scontrol 0 " + SHOW.replace("WorkDir=", "WorkDir=/real Comment=").format("FAILED", "x", "1:0"), "FAILED"),
    ],
)
def test_a_job_of_an_earlier_version_is_known_by_its_comment(line: str, state: str) -> None:
    """Its working directory may have another name: sbatch followed links."""
    assert parse(line, JOB).state == state


# What it means


@pytest.mark.parametrize("state", sorted(WAITING))
def test_waiting(state: str) -> None:
    status = judge(Answer(True, state, "Priority", "2026-01-01T00:00:00"), Own())
    assert (status.state, status.error, status.advice) == ("PENDING", None, None)
    assert status.reason == "Priority, estimated start 2026-01-01T00:00:00"
    assert not judge(Answer(True, state), own("FAILED")).over  # exit.json is that of the attempt before


def test_waiting_again() -> None:
    status = judge(Answer(True, "PENDING", "BeginTime"), own(node={"attempt": 0, "step": 5}))
    assert (status.reason, status.step) == ("requeued after attempt 1, BeginTime", 5)
    assert judge(Answer(True, "PENDING", "Priority"), own("FAILED", resumed=True)).reason == "resumed, Priority"


@pytest.mark.parametrize(
    ("reason", "words", "advice"),
    [
        ("JobHeldUser", "held by its owner", "scontrol release 5"),
        ("JobHeldAdmin", "administrator", "ask"),
        ("launch failed requeued held", "held by Slurm", "scontrol release 5"),
        ("job requeued in held state", "by an operator", "scontrol release 5"),
        ("DependencyNeverSatisfied", "has not ended as `dependency` demands", "JobId=5 Dependency="),
        ("PartitionTimeLimit", "longer than the partition allows", "a shorter `time`"),
        ("PartitionNodeLimit", "`nodes`", "`nodes`"),
        ("AssocGrpGRES", "used up", "other jobs there have ended"),
        ("AssocGrpCpuLimit", "used up", "other jobs there have ended"),
        ("AssocMaxJobsLimit", "used up", "other jobs there have ended"),
        ("QOSMaxGRESPerUser", "used up", "other jobs there have ended"),
        ("QOSMaxJobsPerUserLimit", "used up", "other jobs there have ended"),
        ("MaxGRESPerAccount", "used up", "other jobs there have ended"),
        ("QOSMaxWallDurationPerJobLimit", "than one job", "never starts"),
        ("QOSMaxGRESPerJob", "than one job", "never starts"),
        ("AssocMaxNodePerJobLimit", "than one job", "never starts"),
        ("QOSMinGRES", "than one job", "never starts"),
        ("ReqNodeNotAvail, UnavailableNodes:c1,c2", "down, drained or reserved", "sinfo -R"),
        ("ReqNodeNotAvail, May be reserved for other job", "down, drained or reserved", "reservation"),
        ("BadConstraints", "no node", "`constraint`"),
        ("Licenses", "licences", "scontrol show licenses"),
        ("Reservation", "not begun", "scontrol show reservation"),
        ("InvalidQOS", "`qos`", "`qos`"),
    ],
)
def test_what_holds_a_job_is_said_with_what_to_do(reason: str, words: str, advice: str) -> None:
    status = judge(Answer(True, "PENDING", reason), Own(slurm_id="5"))
    assert (status.state, status.error) == ("PENDING", None)
    assert str(status.reason).startswith(f"{reason} (")
    assert words in str(status.reason)
    assert advice in str(status.advice)


@pytest.mark.parametrize("reason", ["Priority", "Resources", "Dependency", "BeginTime", "None", "SomethingNew"])
def test_what_passes_by_itself_needs_no_advice(reason: str) -> None:
    status = judge(Answer(True, "PENDING", reason), Own(slurm_id="5"))
    assert (status.reason, status.advice) == (reason, None)


@pytest.mark.parametrize("state", ["SUSPENDED", "STOPPED"])
def test_a_suspended_job_is_told_as_one(state: str) -> None:
    status = judge(Answer(True, state, nodes="c1"), Own(slurm_id="5", node={"step": 3}))
    assert (status.state, status.over, status.step) == ("SUSPENDED", False, 3)
    assert "scontrol resume 5" in str(status.advice)


@pytest.mark.parametrize("state", sorted(ACTIVE - contract.SLURM_SUSPENDED))
def test_running(state: str) -> None:
    node = {"step": 3, "started": 5.0, "time": 9.0}
    status = judge(Answer(True, state, nodes="c1"), own("FAILED", node=node))
    assert (status.state, status.step, status.started, status.node) == ("RUNNING", 3, 5.0, "c1")


def test_completing_is_completed_once_the_job_says_so() -> None:
    assert judge(Answer(True, "COMPLETING"), own("COMPLETED")).state == "COMPLETED"
    assert judge(Answer(True, "RUNNING"), own("COMPLETED")).state == "RUNNING"
    assert judge(Answer(True, "COMPLETING"), own("CANCELLED")).state == "RUNNING"


# The controller is away, and sacct is there


STALE = Answer(True, "RUNNING", nodes="c1", stale=True)


def test_the_record_decides_where_only_sacct_calls_it_running() -> None:
    assert parse(f"squeue 1 {DOWN}\nsacct 0 RUNNING|0:0|c1||a.1|", JOB) == replace(STALE, code=0, signal=0)
    assert judge(STALE, Own()).state == "RUNNING"
    assert judge(STALE, own("COMPLETED")).state == "COMPLETED"
    assert judge(STALE, own("FAILED", code=7)).code == 7
    assert judge(STALE, own("CANCELLED", stopped=True)).state == "CANCELLED"  # its stop file needs no Slurm
    assert judge(STALE, own("CANCELLED", paused="/run/stop")).state == "CANCELLED"
    assert judge(STALE, own("CANCELLED")).state == "UNKNOWN"  # by a signal: preempted, and queued again?
    assert judge(STALE, own("FAILED", complete=False)).state == "RUNNING"  # other nodes may
    between = judge(STALE, own("FAILED", goes_on=True, why="a node failed"))
    assert (between.state, "whether the next one has begun" in str(between.error)) == ("UNKNOWN", True)
    for state in ("TIMEOUT", "PREEMPTED", "CANCELLED"):  # the chain's end was decided
        assert judge(STALE, own(state, goes_on=False)).state == state


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"age": 30, "restarts": 0}, "CANCELLED"),
        ({"age": 3, "restarts": 0}, "RUNNING"),  # it is only just ending
        ({"age": 30, "restarts": 1}, "RUNNING"),  # Slurm is about to start it once more
        ({"age": 30, "restarts": None}, "RUNNING"),  # Slurm did not say
        ({"age": 30, "restarts": 0, "chained": True}, "RUNNING"),
        ({"age": 30, "restarts": 0, "complete": False}, "RUNNING"),
    ],
)
def test_a_persons_scancel_of_a_job_whose_nodes_are_slow_to_let_go(more: dict[str, Any], state: str) -> None:
    found = judge(Answer(True, "COMPLETING"), own("CANCELLED", attempt=0, **more))
    assert found.state == state
    assert (found.error == contract.MEANINGS["CANCELLED"]) is (state == "CANCELLED")


def test_a_slurmctld_that_has_just_come_back_is_late() -> None:
    """It takes a job for running until its node has told of the end, up to a minute later."""
    running = Answer(True, "RUNNING", nodes="c1")
    for end in (own("COMPLETED", age=60), own("FAILED", age=60), own("TIMEOUT", goes_on=False, chained=True, age=60)):
        assert judge(running, end).state == (end.exit or {})["state"]
    assert judge(running, own("CANCELLED", stopped=True, age=60)).state == "CANCELLED"
    assert judge(running, own("COMPLETED", age=1)).state == "RUNNING"  # the batch script is about to end
    assert judge(running, own("FAILED", chained=True, age=60)).state == "RUNNING"  # `finish` decides, Slurm is slow
    assert judge(running, own("FAILED", goes_on=True, age=60)).state == "RUNNING"
    assert judge(running, own("CANCELLED", age=60)).state == "RUNNING"  # being preempted
    assert judge(STALE, own("FAILED", chained=True)).state == "UNKNOWN"


CHAIN = (
    f"squeue 1 {DOWN}\nsacct 0 {{}}|0:0|c1||a.1|\nnext\nsqueue 1 {DOWN}\nsacct 0 PENDING|0:0|||a.1|\nown exit.json \n"
)


def test_a_running_chain_is_not_called_waiting_because_sacct_knows_its_next_job() -> None:
    assert judge(parse(CHAIN.format("RUNNING"), JOB), Own(node={"attempt": 0})).state == "RUNNING"
    assert judge(parse(CHAIN.format("RUNNING"), JOB), own("COMPLETED", goes_on=False)).state == "COMPLETED"
    assert judge(parse(CHAIN.format("TIMEOUT"), JOB), own("TIMEOUT", goes_on=True)).state == "PENDING"


@pytest.mark.parametrize("state", ["PENDING", "CONFIGURING", "RUNNING"])
def test_a_chain_that_has_ended_is_over_though_its_next_job_is_queued_still(state: str) -> None:
    """`finish` could not cancel it: slurmctld was away then."""
    answer = Answer(True, state, "Dependency", following=True)
    for end in ("COMPLETED", "FAILED", "CANCELLED"):
        status = judge(answer, own(end, goes_on=False, node={"attempt": 0}))
        assert (status.state, status.over) == (end, True)
    assert not judge(answer, own("FAILED", goes_on=False, resumed=True)).over
    assert not judge(answer, own("FAILED", goes_on=True)).over
    assert not judge(answer, own("CANCELLED")).over  # a signal has ended it: its next attempt will ask Slurm why


# The job's directory is gone


def test_a_job_without_its_directory() -> None:
    running = judge(Answer(True, "RUNNING", nodes="c1"), Own(gone=True))
    assert (running.state, running.error) == ("RUNNING", None)
    assert "its directory is gone" in str(running.reason)
    failed = judge(Answer(True, "FAILED", code=2), Own(gone=True))
    assert (failed.state, failed.code) == ("FAILED", 2)
    assert "its directory is gone" in str(failed.error)
    assert judge(Answer(True, "CANCELLED"), Own(gone=True)).error == "the job was cancelled"
    for answer in (Answer(True), Answer(True, "COMPLETED")):
        lost = judge(answer, Own(gone=True))
        assert (lost.state, lost.forgotten) == ("UNKNOWN", True)
        assert "its directory is gone" in str(lost.error)


def test_a_job_that_slurm_has_forgotten_in_the_queue() -> None:
    """Without accounting, where somebody has cancelled it: nothing tells that from one that slurmctld has lost."""
    never = judge(Answer(True), own())
    assert (never.state, never.forgotten) == ("UNKNOWN", True)
    assert str(never.error).startswith("cancelled in the queue, or lost: ")
    for begun in (own(node={"step": 3}), own(log="bash: no room"), replace(own(), log_name="logs/sbatch_a.1_5.out")):
        assert judge(Answer(True), begun).error == "Slurm no longer knows the job, and it left no record"
    assert judge(Answer(False), own()).error == "Slurm does not answer"


def test_a_pause_is_told_by_its_stop_file() -> None:
    for answer in (Answer(True, "CANCELLED"), Answer(True, "FAILED", code=143)):
        record = own("CANCELLED", error="stopped: /run/stop", paused="/run/stop")
        assert judge(answer, record).error == "stopped: /run/stop"
    assert judge(Answer(True, "CANCELLED"), Own(paused="/run/stop")).error == "stopped: /run/stop"  # it had not begun
    assert judge(Answer(True, "TIMEOUT"), Own(paused="/run/stop")).error == "the time limit was reached"


def test_completed_is_what_the_job_says() -> None:
    assert judge(Answer(True, "COMPLETED"), own("COMPLETED")).code == 0
    failed = judge(Answer(True, "COMPLETED"), own("FAILED", code=7, error="boom", rank=3))
    assert (failed.state, failed.code, failed.rank) == ("FAILED", 7, 3)
    without = judge(Answer(True, "COMPLETED"), Own())  # a network file system may show the record late
    assert (without.state, without.forgotten) == ("UNKNOWN", True)


@pytest.mark.parametrize(("state", "meaning"), sorted(FAILURES.items()))
def test_every_bad_end(state: str, meaning: str) -> None:
    for left in (Own(), own("CANCELLED", code=143), own("FAILED", code=5, error="boom", complete=False)):
        status = judge(Answer(True, state, code=0, signal=0), left)
        expected = "CANCELLED" if state == "FAILED" and left.exit and left.exit["state"] == "CANCELLED" else meaning
        assert (status.state, status.over) == (expected, True)
        assert status.code
        assert status.error or expected == "CANCELLED"
    assert "boom" in str(status.error)


def test_a_state_of_a_later_slurm() -> None:
    assert judge(Answer(True, "TELEPORTED"), own("COMPLETED")).state == "UNKNOWN"


def test_while_slurm_is_away_the_record_of_a_stopped_job_is_not_its_end() -> None:
    """It may have been preempted, and be queued again."""
    assert judge(Answer(False), own("COMPLETED")).state == "COMPLETED"
    assert judge(Answer(False), own("FAILED", code=7)).code == 7
    assert judge(Answer(False), own("FAILED", complete=False)).state == "UNKNOWN"
    assert judge(Answer(False), own("CANCELLED")).state == "UNKNOWN"
    assert judge(Answer(True), own("CANCELLED")).state == "CANCELLED"


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        ("TIME LIMIT", "TIMEOUT"),
        ("PREEMPTION", "PREEMPTED"),
        ("NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS", "NODE_FAIL"),
    ],
)
def test_the_log_tells_why_slurm_ended_a_job_it_has_forgotten(cause: str, state: str) -> None:
    log = f"slurmstepd: error: *** JOB 5 ON c1 CANCELLED AT 2026-01-01T00:00:00 DUE TO {cause} ***"
    assert judge(Answer(True), own("CANCELLED", log=log)).state == state
    assert judge(Answer(True), own("CANCELLED", log="*** JOB 5 ON c1 CANCELLED AT 2026 ***")).state == "CANCELLED"


def test_memory_is_told_by_the_log_only() -> None:
    log = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0. Some of your processes may have been killed"
    for answer in (Answer(True, "FAILED", code=1), Answer(True)):
        status = judge(answer, own("FAILED", log=log, code=137, error="killed by SIGKILL", rank=1))
        assert (status.state, status.code, status.rank) == ("OUT_OF_MEMORY", 137, 1)
    assert judge(Answer(True, "CANCELLED"), own("CANCELLED", log=log)).state == "CANCELLED"


def test_a_job_that_could_not_begin_says_why() -> None:
    log = (
        "+ srun python3 x\nslurmstepd: error: execve(): python3: No such file or directory\n+ exit 2\njob exited with 2"
    )
    status = judge(Answer(True, "FAILED", code=2, signal=0), own(log=log))
    assert (status.code, status.log) == (2, "logs/sbatch_a.1_5.out")
    assert (status.error or "").startswith("execve(): python3: No such file or directory; the node agent needs")


@pytest.mark.parametrize(
    "line",
    [
        "srun: fatal: SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.",
        "srun: error: Unable to create step for job 5: More processors requested than permitted",
    ],
)
def test_what_srun_says_is_shown_where_it_started_no_agent(line: str) -> None:
    log = (
        f"+ srun --output x sh node_agent.sh\n{line}\n+ exitcode=1\n+ set -e\n+ echo job ended with 1\njob ended with 1"
    )
    record = own("FAILED", log=log, error=f"node 0 {contract.NO_AGENT}")
    assert judge(Answer(True, "FAILED", code=1), record).error == line


def test_whatever_is_said_a_job_is_over_only_in_a_known_state() -> None:
    for state in (*WAITING, *ACTIVE, *FAILURES, "COMPLETED", None):
        for asked in (True, False):
            for left in (Own(), own("COMPLETED"), own("FAILED"), own("CANCELLED")):
                status = judge(Answer(asked or state is not None, state), left)
                assert status.state in {*ENDED, "RUNNING", "PENDING", "SUSPENDED", "UNKNOWN"}
                assert (status.state == "COMPLETED") <= (left.exit == own("COMPLETED").exit)


# The question itself, with fakes of Slurm's commands


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on PATH, whose squeue, scontrol and sacct are not there yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("squeue", "scontrol", "sacct"):
        _fake(folder, name, "exit 127")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def _fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\necho {name} >> {folder}/calls\n{script}\n")
    (folder / name).chmod(0o755)


def _ask(folder: Path, job: Path | None = None) -> str:
    own = state_.query_own(str(job), f"{folder}/run") if job else ""
    return LocalShell().run(slurm_query.query("5", str(job or folder)) + own).out


def test_a_warning_before_the_answer(fakes: Path) -> None:
    _fake(
        fakes,
        "squeue",
        "echo 'squeue: warning: maintenance' >&2; echo 'Have a nice day'; echo 'RUNNING|None|N/A|c1|/jobs/a.1|a.1|'",
    )
    assert parse(_ask(fakes), JOB).state == "RUNNING"
    assert (fakes / "calls").read_text().split() == ["squeue"]


def test_a_look_at_a_job_that_runs_starts_four_processes(
    fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a login node hundreds of jobs are followed. Nothing else is on PATH: a fifth would not be found."""
    bash = shutil.which("bash")
    for name in ("mktemp", "timeout", "rm"):
        program = shutil.which(name)
        (fakes / name).write_text(f'#!{bash}\nprintf "{name}\\n" >> {fakes}/calls\nexec {program} "$@"\n')
        (fakes / name).chmod(0o755)
    (fakes / "bash").symlink_to(str(bash))
    _fake(fakes, "squeue", "echo 'RUNNING|None|N/A|c1|/jobs/a.1|a.1|'")
    job = tmp_path / "job"
    (job / "nodes").mkdir(parents=True)
    (job / "nodes" / "0.json").write_text('{\n "step": 3,\n "said": "a\\\\b"\n}\n')
    (job / "agent.json").write_text('{\n "chain": {\n }\n}\n')
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setenv("SLURM_CLUSTERS", "another")
    script = slurm_query.query("5", str(job)) + state_.query_own(str(job), f"{tmp_path}/run")
    done = LocalShell().run(script)
    assert (done.err, parse(done.out, JOB).state) == ("", "RUNNING")
    own = state_.read_own(done.out)
    assert (own.node, own.chained, own.gone, own.exit) == ({"step": 3, "said": "a\\b"}, True, False, None)
    assert sorted((fakes / "calls").read_text().split()) == ["mktemp", "rm", "squeue", "timeout"]


def test_a_controller_that_is_away_is_asked_once(fakes: Path) -> None:
    _fake(fakes, "squeue", f"echo '{DOWN}' >&2; exit 1")
    assert parse(_ask(fakes), JOB) == Answer(False)
    assert (fakes / "calls").read_text().split() == ["squeue", "sacct"]


def test_from_squeue_to_scontrol_to_sacct(fakes: Path) -> None:
    _fake(fakes, "squeue", "exit 0")
    _fake(fakes, "scontrol", f"echo '{NO_JOB}' >&2; exit 1")
    _fake(fakes, "sacct", "printf 'NODE_FAIL|0:0|c1||a.1|\\nCOMPLETED|0:0|c1||a.1|\\n'")
    assert parse(_ask(fakes), JOB).state == "COMPLETED"


def test_what_the_job_has_left(fakes: Path, tmp_path: Path) -> None:
    job = tmp_path / "it's a job"
    (job / "nodes").mkdir(parents=True)
    (job / "logs").mkdir()
    (job / "exit.json").write_text(json.dumps({"state": "FAILED", "error": "ü\nown log x"}, indent=1))
    (job / "nodes" / "0.json").write_text('{"step": 4}')
    (job / "logs" / "sbatch_a.1_5.out").write_bytes(b"x" * 9999 + b"\nown exit {}\n\0oom-kill \xff no newline")
    found = state_.read_own(_ask(fakes, job))
    assert found.exit == {"state": "FAILED", "error": "ü\nown log x"}
    assert found.node == {"step": 4}
    assert found.log_name == "logs/sbatch_a.1_5.out"
    assert "own exit {}\noom-kill" in found.log
    assert len(found.log) <= state_.LOG_TAIL


def test_why_no_agent_started_is_in_the_steps_log(fakes: Path, tmp_path: Path) -> None:
    real = Path(__file__).parents[1] / "jobs" / "pyxis_logs" / "node-disk-full.txt"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log-a.1_5_0.out").write_text(real.read_text())
    (tmp_path / "logs" / "sbatch_a.1_5.out").write_text("srun: error: n1: task 0: Exited with exit code 1\n")
    ended = {"state": "FAILED", "complete": True, "code": 1, "error": f"node 0 {contract.NO_AGENT}", "log": None}
    (tmp_path / "exit.json").write_text(json.dumps(ended))
    shown = SHOW.format("FAILED", "NonZeroExitCode", "1:0").replace("/jobs/a.1", str(tmp_path))
    for answer in (f"echo '{shown}'", f"echo '{NO_JOB}' >&2; exit 1"):  # the second one: Slurm has forgotten it
        _fake(fakes, "squeue", f"echo '{NO_JOB}' >&2; exit 1")
        _fake(fakes, "scontrol", answer)
        said = _ask(fakes, tmp_path)
        status = judge(parse(said, Job("a.1", str(tmp_path))), state_.read_own(said))
        assert (status.state, status.log) == ("FAILED", "logs/log-a.1_5_0.out")
        assert status.error and status.error.startswith("Write on output file failed because No space left on device")
    # a failure of the job's own keeps its words and its log, whatever pyxis has said
    (tmp_path / "exit.json").write_text(json.dumps({**ended, "error": "ValueError: x", "log": "logs/rank-0.log"}))
    said = _ask(fakes, tmp_path)
    status = judge(parse(said, Job("a.1", str(tmp_path))), state_.read_own(said))
    assert (status.error, status.log) == ("ValueError: x", "logs/rank-0.log")


def test_the_log_of_a_job_that_runs_is_not_sent(fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "sbatch_a.1_5.out").write_text("x")
    _fake(fakes, "squeue", "echo 'RUNNING|None|N/A|c1|/jobs/a.1|a.1|'")
    assert state_.read_own(_ask(fakes, tmp_path)) == Own(slurm_id="5")


def test_files_that_a_person_makes_or_takes_away(fakes: Path, tmp_path: Path) -> None:
    run, job = fakes / "run", tmp_path / "a.1"
    run.mkdir()
    (run / "stop").touch()
    assert state_.read_own(_ask(fakes, job)) == Own(paused=f"{run}/stop", gone=True, slurm_id="5")
    job.mkdir()
    (job / "stop").touch()
    (run / "stop").unlink()
    (job / "chain").write_text("4 5 0\n")  # `resume` has submitted 5
    (job / "agent.json").write_text(json.dumps({"chain": {"jobs": None}}, indent=1))
    assert state_.read_own(_ask(fakes, job)) == Own(stopped=True, resumed=True, slurm_id="4", chained=True)
    (job / "exit.json").write_text("{}")
    os.utime(job / "exit.json", (1e9, 1e9))
    for begun, old in (("2001-01-01T00:00:00", True), ("2020-01-01T00:00:00", False)):  # the file is of September 2001
        _fake(fakes, "squeue", f"echo 'RUNNING|None|{begun}|c1|{job}|a.1|'")
        assert (state_.read_own(_ask(fakes, job)).age > 1e8) == old


@pytest.mark.parametrize("text", ["", "own exit \nown nodes/0 \n", "own exit [1]\nown nodes/0 {", "own exit {}"])
def test_nothing_or_half_of_a_record_is_none(text: str) -> None:
    assert state_.read_own(text) == Own()


@pytest.mark.parametrize("dropped", [True, False])
def test_a_chain_whose_last_attempt_is_gone_with_its_nodes_says_how_to_go_on(dropped: bool) -> None:
    """Those that waited were taken out of the queue while it trained."""
    now = judge(Answer(True, "NODE_FAIL", dropped=dropped), own(chained=True))
    assert (now.state, now.stuck, now.advice) == ("NODE_FAIL", True, "python launch.py resume JOB goes on")
    assert now.error == "a node failed, and no further attempt is queued"
    waits = judge(Answer(True, "PENDING", following=True), own(chained=True))
    assert (waits.state, waits.stuck) == ("PENDING", False)
    single = judge(Answer(True, "NODE_FAIL"), own())
    assert (single.state, single.stuck) == ("NODE_FAIL", False)


@pytest.mark.parametrize("state", ["TIMEOUT", "CANCELLED", "NODE_FAIL", "PREEMPTED"])
def test_what_ends_a_job_after_its_training_has_ended_is_no_failure(state: str) -> None:
    """The time limit comes while the batch script tidies up, say."""
    assert judge(Answer(True, state), own("COMPLETED")).state == "COMPLETED"
    assert judge(Answer(True, state), own("COMPLETED", complete=False)).state == state
    assert judge(Answer(True, state), own("FAILED")).state == state


def test_how_often_slurm_has_requeued_a_job_that_it_is_completing(tmp_path: Path) -> None:
    """In the words of `scontrol -o show job` of Slurm 22 to 25; asked for such a job alone."""
    shown = "JobId=5 JobName=a.1 JobState=COMPLETING Reason=None Requeue=1 Restarts=2 BatchFlag=1 Reboot=0"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho '{shown}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    for state, expected in (("COMPLETING", 2), ("RUNNING", None)):
        head = f"export PATH={tmp_path}:$PATH\nid=5 next=- submitted=5 ended= out='{state}|None|N/A||/jobs/a.1|a.1|'\n"
        told = LocalShell().run(head + state_.query_own(str(tmp_path), str(tmp_path))).out
        assert state_.read_own(told).restarts == expected


@pytest.mark.parametrize(
    ("answer", "node", "chained", "state"),
    [
        (Answer(True, "NODE_FAIL"), {}, False, "COMPLETED"),
        (Answer(True), {}, False, "COMPLETED"),
        (Answer(True, "COMPLETED"), {}, False, "COMPLETED"),
        (Answer(True, "RUNNING"), {}, False, "RUNNING"),
        (Answer(True, "NODE_FAIL"), {}, True, "NODE_FAIL"),  # a chain's next attempt sees to it
        (Answer(True, "NODE_FAIL"), {"code": 1}, False, "NODE_FAIL"),
        (Answer(True, "NODE_FAIL"), {"nnodes": 2}, False, "NODE_FAIL"),
        (Answer(True, "NODE_FAIL"), {"state": "running"}, False, "NODE_FAIL"),
        (Answer(False), {}, False, "UNKNOWN"),
    ],
)
def test_a_completion_that_only_the_nodes_own_record_tells(
    answer: Answer, node: dict[str, Any], chained: bool, state: str
) -> None:
    """Of one node, whose agent and batch script were lost before they could write exit.json."""
    ended = {"state": "ended", "nnodes": 1, "code": 0, "step": 9, "time": 5.0, **node}
    found = judge(answer, own(node=ended, chained=chained))
    assert (found.state, found.step) == (state, 9)
