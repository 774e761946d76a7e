"""`jobs`, `status`, `attach`, `pause`: commands about jobs that were submitted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import data_identity
from automodel_launch.executors import local
from automodel_launch.executors.slurm import silent
from automodel_launch.jobs import records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import cancelling
from automodel_launch.launch.places import Places, Seen
from automodel_launch.remote import processes
from automodel_launch.remote.shell import AT_ONCE
from tests.commands.conftest import Cli
from tests.conftest import LIMIT_S, wait_for
from tests.workbench import write_pair


def test_no_jobs(launch: Cli) -> None:
    assert launch("jobs") == (0, "", "no job was submitted from here yet\n")
    assert json.loads(launch("jobs", "--json")[1]) == []


def test_a_job_that_was_killed_tells_the_last_step_that_it_logged(launch: Cli) -> None:
    job = launch.job(1, state=None)
    running_here(Path(job.job_dir), agent_start=1, step=1)  # the last heartbeat of a process that is gone
    lines = [{"time": 1.0, "step": step, "loss": 2.0} for step in range(50)]
    Path(job.job_dir, "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 5')
    head, *rows = launch("jobs")[1].splitlines()
    cells = rows[0].split()
    assert head.split()[4:6] == ["STEP", "LOSS"]
    assert (cells[1], cells[5:7]) == ("FAILED", ["50", "2.0000"])
    assert json.loads(launch("status", job.job_id, "--json")[1])["step"] == 49
    assert "  step 50, loss 2.0000" in launch("status", job.job_id)[1]


def test_a_loss_that_is_no_number_is_told(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    Path(job.job_dir, "metrics.jsonl").write_text('{"time": 1.0, "step": 0, "loss": null, "lr": 0.5}\n')
    assert launch("jobs")[1].splitlines()[1].split()[5:7] == ["1", "nan"]
    assert [line.split() for line in launch("metrics", job.job_id)[1].splitlines()] == [
        ["step", "loss", "lr"],
        ["0", "nan", "0.5"],
    ]


def test_a_line_a_job(launch: Cli) -> None:
    launch.job(1)
    launch.job(2, "FAILED")
    head, first, second = launch("jobs")[1].splitlines()
    assert head.split() == ["JOB", "STATE", "PROFILE", "SUBMITTED"]  # in other columns nothing would stand
    assert first.split()[:3] == ["stub-a.1", "COMPLETED", "local"]
    assert second.split()[:3] == ["stub-a.2", "FAILED", "local"]
    assert [row["state"] for row in json.loads(launch("jobs", "--json")[1])] == ["COMPLETED", "FAILED"]


def test_status_takes_the_last_job_and_says_so(launch: Cli) -> None:
    launch.job(1)
    launch.job(2, "FAILED")
    code, out, err = launch("status")
    assert (code, err) == (0, "the last job: stub-a.2\n")
    assert out.startswith("stub-a.2: FAILED")
    assert launch("status", "last")[2] == ""
    code, out, err = launch("status", "--json")
    assert (json.loads(out)["job_id"], err) == ("stub-a.2", "the last job: stub-a.2\n")


def test_attach_takes_the_last_job_and_says_so(launch: Cli) -> None:
    launch.job(1, logs={0: "a line\n"})
    code, out, err = launch("attach")
    assert (code, out) == (0, "a line\n")
    assert err.startswith("the last job: stub-a.1\n")


def test_cancel_of_a_job_that_is_over(launch: Cli) -> None:
    launch.job(1)
    launch.refused(2, ("cancel", "stub-a.1"), "already ended", "COMPLETED")


def test_cancel_of_a_job_that_nobody_knows(launch: Cli) -> None:
    job = launch.job(1)
    shutil.rmtree(job.job_dir)
    launch.refused(2, ("cancel", "stub-a.1"), "cannot be cancelled", "directory is gone")


def test_attach_to_a_job_whose_directory_is_gone(launch: Cli) -> None:
    job = launch.job(1)
    launch("status", "stub-a.1")  # it is seen to end
    shutil.rmtree(job.job_dir)
    code, _, err = launch("attach", "stub-a.1")
    assert (code, "stub-a.1: COMPLETED" in err, "its directory is gone" in err) == (0, True, True)
    launch.refused(2, ("cancel", "stub-a.1"), "already ended", "COMPLETED")


def test_pause_of_a_job_that_failed(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    assert launch("pause", "stub-a")[:2] == (0, "stub-a.1: paused\n")
    assert Path(job.run_dir, "stop").read_text() == ""  # a full disk has room for that


def test_a_finished_run_is_not_paused_for_good(launch: Cli) -> None:
    launch.job(1)
    launch.refused(2, ("pause", "stub-a"), "stub-a is finished", "nothing to pause")


def test_resume_of_a_finished_run_ends_its_pause(launch: Cli) -> None:
    """A longer launch of it would be refused as `paused`, with `resume` as its fix."""
    job = launch.job(1)
    stop = Path(job.run_dir, "stop")
    stop.write_text("pause\n")
    code, out, err = launch("resume", "stub-a")
    assert (code, out) == (0, "stub-a.1: COMPLETED\n")
    assert "is finished; nothing was started" in err
    assert not stop.exists()


def test_a_run_that_no_resume_could_go_on_with_is_not_paused(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    lines = [
        {"event": "begun", "gpus": 1},
        {"event": "ended", "goes_on": False, "why": "max_gpu_hours = 1 are used up"},
    ]
    text = "".join(json.dumps({"time": 1.0, "job_id": job.job_id, "attempt": 0, **line}) + "\n" for line in lines)
    Path(job.run_dir, "history.jsonl").write_text(text)
    launch.refused(2, ("pause", "stub-a"), "cannot go on", "max_gpu_hours")
    shutil.rmtree(job.job_dir)
    launch.refused(2, ("pause", "stub-a"), "cannot be paused", "directory is gone")


def test_resume_of_a_job_whose_directory_is_gone_says_so(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    launch("status", "stub-a.1")  # it is seen to end
    shutil.rmtree(job.job_dir)
    launch.refused(2, ("resume", "stub-a.1"), f"its directory is gone: {job.job_dir}", "launch it again")


def test_a_job_that_completes_while_it_is_paused_leaves_no_pause(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    job = launch.job(1, state=None)
    running_here(Path(job.job_dir))

    def ends_by_itself(record: Record, before: Status, now: bool) -> None:
        assert Path(job.run_dir, "stop").exists()
        Path(job.job_dir, "exit.json").write_text('{"state": "COMPLETED", "code": 0, "ended": 2000.0}')

    monkeypatch.setattr(cancelling, "ask", ends_by_itself)
    code, out, err = launch("pause", "stub-a.1")
    assert (code, out) == (0, "stub-a.1: COMPLETED\n")
    assert "is not paused" in err and not Path(job.run_dir, "stop").exists()


def test_an_agent_that_does_not_react_is_killed_with_all_that_it_started(
    launch: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "REACTS_S", 0.5)
    job = launch.job(1, state=None)
    deaf = Path(job.job_dir, "deaf")
    script = f"trap '' TERM; sleep 77 & (trap '' TERM; sleep 78 & touch '{deaf}'; wait) & wait; sleep 79"
    agent = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    running_here(Path(job.job_dir), agent_pid=agent.pid, agent_start=processes.start_time(agent.pid))
    wait_for(deaf.exists)
    code, out, err = launch("cancel", "stub-a.1", "--now")
    assert (code, out) == (0, "stub-a.1: CANCELLED\n"), err
    told = json.loads(Path(job.job_dir, "exit.json").read_text())
    assert told["code"] == 137 and "did not react and was killed" in told["error"]
    assert agent.wait(LIMIT_S) == -signal.SIGKILL
    wait_for(lambda: not _living_in_session(agent.pid))


def test_an_agent_that_has_heard_the_first_signal_late_is_told_again(launch: Cli) -> None:
    """The second one came within a second of that, and was none for it."""
    job = launch.job(1, state=None)
    ready = Path(job.job_dir, "ready")
    script = f"n=0; trap '[ $((n += 1)) -lt 3 ] || exit 7' TERM; touch '{ready}'; while :; do sleep 0.05; done"
    agent = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    running_here(Path(job.job_dir), agent_pid=agent.pid, agent_start=processes.start_time(agent.pid))
    wait_for(ready.exists)
    assert launch("cancel", "stub-a.1", "--now")[0] == 0
    assert agent.wait(LIMIT_S) == 7


def _living_in_session(session: int) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of, *_ = path.read_text().rpartition(")")[2].split()
            found += [path] if state != "Z" and of == str(session) else []
    return found


def test_names_from_elsewhere_are_shown_harmlessly(launch: Cli) -> None:
    job = launch.job(1)
    path = launch.bench.workspace.records / f"{job.job_id}.json"
    path.write_text(path.read_text().replace('"profile": "local"', '"profile": "\\u001b[2J"'))
    assert "\\x1b[2J" in launch("jobs")[1]


def test_resume_on_other_data_is_refused_before_the_queue(launch: Cli, tmp_path: Path) -> None:
    record = launch.job(state="FAILED")
    named = [["megatron", write_pair(tmp_path / "web", [1, 2, 3])]]
    begun = data_identity.look(named, [])
    Path(record.job_dir, "agent.json").write_text(json.dumps({"data": {"named": named, "allow": None, "caches": []}}))
    Path(record.run_dir, "data.json").write_text(json.dumps(begun))
    write_pair(tmp_path / "web", [1, 2, 3, 4])
    code, out, err = launch("resume", "stub-a")
    assert (code, out) == (3, "") and "began with other data" in err and "6 + " in err and "now 8 + " in err
    assert "run.data_changed=allow" in err


def test_a_job_that_was_requeued_unseen_is_not_told_by_its_old_end(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    assert launch("jobs")[1].splitlines()[1].split()[1] == "FAILED"
    path = launch.bench.workspace.records / f"{job.job_id}.json"
    held = json.loads(path.read_text())
    held["end"] |= {"ended": 1000.0, "seen": 1060.0}  # hours ago, when nobody had requeued it yet
    path.write_text(json.dumps(held))
    Path(job.job_dir, "exit.json").unlink()
    running_here(Path(job.job_dir))
    for verb in ("jobs", "status", "jobs"):
        assert "RUNNING" in launch(verb)[1]
    assert json.loads(path.read_text())["end"] is None


def running_here(job_dir: Path, **told: Any) -> None:
    """The heartbeat of an agent that is alive: this process."""
    who = {"host": socket.gethostname(), "agent_pid": os.getpid(), "agent_start": processes.start_time(os.getpid())}
    (job_dir / "nodes").mkdir()
    (job_dir / "nodes" / "0.json").write_text(json.dumps({**who, "time": time.time(), **told}))


ODD: tuple[dict[str, Any], ...] = (
    {"executor": "kubernetes"},
    {"executor": "slurm", "handle": {}},
    {"executor": "slurm", "handle": {"slurm_id": ["1"]}},
    {"executor": "slurm", "handle": {"slurm_id": "1", "tunnel": "ssh", "host": ["a"]}},
    {"executor": "slurm", "handle": {"slurm_id": "1", "slurm_conf": ["a"]}},
    {"executor": "slurm", "handle": {"slurm_id": "1", "tunnel": "ssh", "host": "a.invalid", "identity": ["a"]}},
    {"executor": "slurm", "handle": {"after": ["a"]}, "launcher": {"pid": 4194305, "start": 1}},
    {"executor": "local", "handle": {"pid": ["x"]}},
    {"executor": "docker", "handle": {"container": ["x"]}},
    {"executor": "docker", "handle": {}},
    {"executor": "slurm", "handle": {}, "launcher": {"pid": "x"}},
    {"executor": "slurm", "handle": {"slurm_id": "1", "slurm_conf": 17}},
    {"executor": "slurm", "handle": {"slurm_conf": 17}, "launcher": {"pid": "x"}},
    {"executor": "slurm", "handle": {"slurm_id": "1", "stop_grace": "long"}},
    {"executor": "docker", "handle": {"container": "a", "DOCKER_HOST": 5}},
    {"handle": {"after_attempt": "x"}, "launcher": {"pid": "x"}},
    {"end": {"later": 1}},
    {"end": {"state": 5}},
    {"end": {"state": "FAILED", "ended": "yesterday"}},
    {"end": {"state": "FAILED", "ended": 1e300, "step": [], "code": "x", "rank": {}}},
)
TIMES: tuple[Any, ...] = (1e300, -1, float("nan"), float("inf"), True, [])
TORN: tuple[dict[str, Any], ...] = (
    *({"submitted": when} for when in TIMES),
    {"before": {"handle": 5}, "launcher": {"pid": "x"}},
    {"before": {"end": 5}, "launcher": {"pid": "x"}},
    {"max_steps": "x"},
    {"max_steps": 2.5},
    *({name: 5} for name in ("recipe", "config", "mode", "plan_hash", "profile")),
)


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_record_is_one_odd_line(launch: Cli, odd: dict[str, Any]) -> None:
    launch.job(1)
    job = launch.job(2, state=None)
    path = launch.bench.workspace.records / f"{job.job_id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    code, out, _ = launch("jobs")
    assert code == 0
    _, first, second = out.splitlines()
    assert first.split()[:2] == ["stub-a.1", "COMPLETED"]
    assert second.split()[1] in ("UNKNOWN", "NOT_SUBMITTED", "FAILED")
    for verb in ("status", "attach", "cancel", "pause", "resume"):
        code, _, err = launch(verb, job.job_id)
        assert code in (0, 2, 4) and "Traceback" not in err


@pytest.mark.parametrize("torn", TORN, ids=str)
def test_a_record_that_cannot_be_used_is_named(launch: Cli, torn: dict[str, Any]) -> None:
    launch.job(1)
    job = launch.job(2)
    path = launch.bench.workspace.records / f"{job.job_id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **torn}))
    code, out, err = launch("jobs")
    assert (code, out.splitlines()[1].split()[0], len(out.splitlines())) == (0, "stub-a.1", 2)
    assert f"{path} is no record" in err
    assert launch("jobs", "--json")[0] == 0
    for verb in ("status", "attach", "cancel", "pause", "resume"):
        launch.refused(2, (verb, job.job_id), f"{path} is no record")


def _slurm_jobs(launch: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, squeue: str) -> Path:
    """So many jobs on this machine's Slurm, behind one that has completed; the folder has `called`, a line a call."""
    launch.job(1)
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, lines in (("squeue", squeue), ("sacct", "exit 1"), ("scontrol", "exit 1")):
        (folder / name).write_text(f"#!/bin/bash\necho {name} >> {folder}/called\n{lines}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(silent, "_silent", {})
    for number in range(2, 2 + count):
        job = launch.job(number, state=None)
        handle = {"slurm_id": str(number), "tunnel": None}
        records.save(launch.bench.workspace.records, replace(job, executor="slurm", handle=handle))
    return folder


def test_a_place_that_does_not_answer_holds_up_no_other(
    launch: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = (
        "for _ in {1..9000}; do [ ! -e ${0%/*}/go ] || break; sleep 0.02; done; echo 'PENDING|Priority|N/A||/|x|(null)'"
    )
    folder = _slurm_jobs(launch, tmp_path, monkeypatch, 2, wait)
    before = ["", ""]
    rest = Places.rest

    def let_go(places: Places) -> list[Seen]:
        before[:] = launch.capsys.readouterr()
        (folder / "go").touch()
        return rest(places)

    monkeypatch.setattr(Places, "rest", let_go)
    code, out, _ = launch("jobs")
    assert code == 0
    assert [line.split()[:2] for line in before[0].splitlines()[1:]] == [["stub-a.1", "COMPLETED"]]
    assert "not answered yet: slurm on this machine (2 jobs)" in before[1]
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["stub-a.2", "stub-a.3"]


def test_a_slurm_that_does_not_answer_is_not_asked_for_each_job(
    launch: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    folder = _slurm_jobs(launch, tmp_path, monkeypatch, 3 * AT_ONCE, away)
    monkeypatch.setattr(silent, "REMEMBER_S", 60.0)
    code, out, _ = launch("jobs", "--json")
    rows = json.loads(out)
    assert (code, rows[0]["state"], len(rows)) == (0, "COMPLETED", 1 + 3 * AT_ONCE)
    assert {(row["state"], row["error"]) for row in rows[1:]} == {("UNKNOWN", "Slurm does not answer")}
    called = (folder / "called").read_text().split()
    assert called.count("squeue") <= AT_ONCE and called.count("sacct") <= AT_ONCE


ODD_EXITS: tuple[dict[str, Any], ...] = (
    {"state": 5},
    {"state": "FAILED", "ended": "yesterday", "code": "x", "rank": "0", "error": 5, "log": [], "step": "x"},
)


@pytest.mark.parametrize("odd", ODD_EXITS, ids=str)
def test_an_odd_exit_record_is_no_traceback(launch: Cli, odd: dict[str, Any]) -> None:
    job = launch.job(1)
    Path(job.job_dir, "exit.json").write_text(json.dumps(odd))
    Path(job.run_dir, "history.jsonl").write_text('{"event": "begun", "job_id": "stub-a.1", "time": "now"}\n')
    for verb in ("jobs", "status", "attach", "cancel", "jobs"):
        code, _, err = launch(verb, *(() if verb == "jobs" else (job.job_id,)))
        assert code in (0, 1, 2) and "Traceback" not in err


def test_a_file_that_is_no_record_is_said(launch: Cli) -> None:
    launch.job(1)
    (launch.bench.workspace.records / "x.1.json").write_text("[]")
    code, out, err = launch("jobs")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "x.1.json is no record" in err


def test_an_empty_word_is_not_the_last_job(launch: Cli) -> None:
    launch.job(1)
    launch.refused(2, ("status", ""), "no job ''")
