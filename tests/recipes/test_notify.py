"""Who is told of a run's end: real HTTP on the loopback address, a program in sendmail's place, real agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, wait_for
from tests.recipes.chain_site import LIMITS, Site
from tests.recipes.hook_server import Hook

TOKEN = "T0K3N/aB3dE6gH9jK2mN5pQ8"


def site(root: Path, notify: list[str], chained: dict[str, Any] | None = None) -> Site:
    """A job whose agent.json says whom to tell, with metrics and a file of secrets."""
    made = Site(root, chained)
    order = json.loads((made.job / "agent.json").read_text())
    secrets = made.job / "secrets.env"
    order |= {"run_name": "a", "job_dir": str(made.job), "notify": notify, "secrets_file": str(secrets)}
    (made.job / "agent.json").write_text(json.dumps(order, indent=1))
    (made.job / "metrics.jsonl").write_text('{"time": 1.0, "step": 41, "loss": 2.25}\n{"step": 41, "val_loss": 3}\n')
    return made


def everything(folder: Path) -> str:
    """All that stands in the files below."""
    return "\n".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_failure_is_told_once_with_what_to_do(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, [hook.url + "/a", hook.url + "/b"])
    job.call("begin", "76")
    error = "OSError: You are trying to access a gated repo."
    job.node(0, failure={"code": 1, "error": error, "time": 2.0}, code=1, step=41)
    done = job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert done.returncode == 1
    assert done.stderr.count("127.0.0.1: told (200)") == 2
    assert sorted(path for path, _ in hook.posted) == ["/a", "/b"]
    told = hook.posted[0][1]
    assert (told["event"], told["run"], told["job"], told["state"]) == ("failed", "a", "a.1", "FAILED")
    assert (told["step"], told["loss"], told["error"], told["attempt"]) == (41, 2.25, error, 1)
    assert "has to be asked for" in told["cause"]
    assert "ask for access" in told["todo"]
    assert told["look"] == "python launch.py status a.1"
    for _ in range(3):  # a second agent, Slurm's requeue, an impatient person
        (job.job / "exit.json").unlink(missing_ok=True)
        job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert len(hook.posted) == 2


def test_an_attempt_of_a_chain_is_nobodys_business(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, [hook.url], LIMITS)
    for attempt, slurm_id in enumerate(("76", "77")):
        job.call("begin", slurm_id)
        job.fail(attempt)
        job.call("finish", slurm_id, LAUNCH_ATTEMPT=str(attempt))
        assert len(hook.posted) == attempt  # the first failure is followed by another attempt
    assert "failed twice in the same way" in hook.posted[0][1]["why"]
    job.resume("90")
    job.call("begin", "90")
    job.fail(2)
    job.call("finish", "90", LAUNCH_ATTEMPT="2")
    assert len(hook.posted) == 1
    following = (job.job / "chain").read_text().split()[1]
    job.call("begin", following)
    job.fail(3)
    job.call("finish", following, LAUNCH_ATTEMPT="3")
    assert len(hook.posted) == 2  # a person has resumed it: its next end is another one


def test_who_holds_the_secret_is_told_and_nobody_else_sees_it(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, ["env:HOOK", "slack:env:SLACK", "env:UNSET"])
    secrets = job.job / "secrets.env"
    secrets.write_text(f"HOOK={hook.url}/{TOKEN}\nSLACK='{hook.url}/slack/{TOKEN}'\nOTHER=x\n")
    job.call("begin", "76")
    failure = {"code": 1, "error": f"HTTPError at {hook.url}/{TOKEN}", "time": 2.0}
    job.node(0, code=1, failure=failure, secrets_file=str(secrets))
    secrets_text = secrets.read_text()
    done = job.call("finish", "76", LAUNCH_ATTEMPT="0")
    posted = dict(hook.posted)
    assert set(posted) == {f"/{TOKEN}", f"/slack/{TOKEN}"}
    assert list(posted[f"/slack/{TOKEN}"]) == ["text"]
    assert "a has failed and needs somebody" in posted[f"/slack/{TOKEN}"]["text"]
    assert "UNSET is not set here" in done.stderr
    assert TOKEN in secrets_text
    assert not secrets.exists()
    for text in (json.dumps(list(posted.values())), done.stderr, done.stdout, *hook.processes):
        assert TOKEN not in text
    assert TOKEN not in everything(job.run / "notified") + "\n".join(job.calls)


def test_mail_goes_through_sendmail_else_through_slurm(tmp_path: Path) -> None:
    job = site(tmp_path, ["mail:me@example.org"])
    job.says("sendmail", f"cat > {tmp_path}/mail")
    job.call("begin", "76")
    job.fail(0, "boom: é")
    done = job.call("finish", "76", LAUNCH_ATTEMPT="0")
    mail = (tmp_path / "mail").read_text()
    assert "sendmail -t -oi" in job.calls
    assert "To: me@example.org" in mail
    assert "Subject: a has failed and needs somebody" in mail
    assert "mail:me@example.org: handed to sendmail" in done.stderr

    other = site(tmp_path / "other", ["mail:me@example.org"])
    other.call("begin", "76")
    other.fail(0)
    path = f"{other.bin}:/usr/bin:/bin"
    if any(Path(name).exists() for name in ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail")):
        return
    said = other.call("finish", "76", LAUNCH_ATTEMPT="0", PATH=path).stderr
    assert "Slurm will send it when Slurm job 76 has ended" in said
    assert "scontrol update JobId=76 MailUser=me@example.org MailType=END,FAIL,TIME_LIMIT" in other.calls

    task = {"SLURM_ARRAY_JOB_ID": "75", "SLURM_ARRAY_TASK_ID": "2"}
    point = site(tmp_path / "point", ["mail:me@example.org"])
    point.call("begin", "76", **task)
    point.fail(0)
    point.call("finish", "76", LAUNCH_ATTEMPT="0", PATH=path.replace(str(other.bin), str(point.bin)), **task)
    assert any("scontrol update JobId=75_2 MailUser=" in call for call in point.calls)


@pytest.mark.parametrize("answer", ["refused", "500", "not a URL"])
def test_a_dead_hook_changes_nothing(tmp_path: Path, hook: Hook, answer: str) -> None:
    hook.answer = 500
    target = {"refused": "http://127.0.0.1:9/x", "500": hook.url, "not a URL": "env:HOOK"}[answer]
    job = site(tmp_path, [target])
    (job.job / "secrets.env").write_text("HOOK=file:///etc/passwd\n")
    job.call("begin", "76")
    job.fail(0)
    done = job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert done.returncode == 1
    assert json.loads((job.job / "exit.json").read_text())["error"] == "boom"
    assert "notify: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_hook_that_never_answers(tmp_path: Path, hook: Hook) -> None:
    hook.silent.set()
    job = site(tmp_path, [hook.url])
    job.call("begin", "76")
    job.fail(0)
    done = job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert done.returncode == 1
    assert "notify: 127.0.0.1: " in done.stderr or "no answer" in done.stderr


def test_a_run_that_goes_on_elsewhere_tells_nobody(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, [hook.url])
    job.says("scontrol", "echo JobId=1 JobState=PREEMPTED StartTime=1000000 EndTime=1000600")
    job.call("begin", "76")
    job.node(0, code=143, stop={"signal": "SIGTERM", "number": 15, "time": 1.5, "reason": "signal"})
    job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert hook.posted == []


def test_a_killed_agents_end_is_told_by_the_batch_script(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, [hook.url])
    job.call("begin", "76")
    job.node(0, state="running")
    job.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert [body["error"] for _, body in hook.posted] == [
        "node 0 (c1) ended without a record: killed, or the node failed"
    ]


def test_where_it_cannot_be_noted_nobody_is_told(tmp_path: Path, hook: Hook) -> None:
    """Else a full disk would tell everybody again and again."""
    job = site(tmp_path, [hook.url])
    job.call("begin", "76")
    job.fail(0)
    (job.run / "notified").write_text("not a directory")
    assert "nobody is told" in job.call("finish", "76", LAUNCH_ATTEMPT="0").stderr
    assert hook.posted == []


def test_eight_at_once_tell_once(tmp_path: Path, hook: Hook) -> None:
    job = site(tmp_path, [hook.url])
    job.call("begin", "76")
    job.fail(0)
    environ = {"PATH": f"{job.bin}:{os.environ['PATH']}", "SLURM_JOB_ID": "76", "LAUNCH_ATTEMPT": "0"}
    agent = Path(__file__).parents[2] / "recipes" / "node_agent.py"
    words = [sys.executable, str(agent), "finish", str(job.job)]
    nothing = subprocess.DEVNULL
    all_of_them = [subprocess.Popen(words, env=environ, stdout=nothing, stderr=nothing) for _ in range(8)]
    assert {process.wait(LIMIT_S) for process in all_of_them} == {1}
    wait_for(lambda: hook.posted)  # by a process that is left behind where it takes long
    assert len(hook.posted) == 1
