"""`status` and `jobs` in full, and `-w`: on a real terminal, and where there is none."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import termios
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.commands import job_view, spark
from automodel_launch.commands import status as show_status
from automodel_launch.commands.job_view import Screen
from automodel_launch.commands.watch import SLOWEST_S, Pause
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import history, records
from automodel_launch.jobs.records import Status
from automodel_launch.launch import resume
from automodel_launch.launch.glance import Glance, Launched, Looker
from automodel_launch.launch.speed import Speed
from automodel_launch.launch.waiting import Standing
from automodel_launch.remote.filesystem import LocalFileSystem
from tests.commands.conftest import Cli
from tests.conftest import LIMIT_S, Checkout, wait_for

STEPS = [{"time": 100.0 + n, "step": n, "loss": 9.0 - n / 10, "tps": 1000.0 + n} for n in range(40)]


def _write(job_dir: str, **files: str) -> None:
    for name, text in files.items():
        path = Path(job_dir, name.replace("__", "/").replace("_json", ".json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


# --- numbers


def test_status_tells_how_far_it_came_and_what_was_launched_and_how_to_go_on(launch: Cli) -> None:
    job = launch.job(1, state=None)
    _startable(job.job_dir)
    plan = {"nodes": 2, "world_size": 16, "provenance": {"a": "override a=1", "b": "stub.yaml:3"}}
    plan |= {"profile_sources": {"time": "override run.env"}, "profile_values": {"time": "04:00:00"}}
    plan |= {"after": ["first", "second"]}
    end = {"state": "FAILED", "code": 7, "error": "RuntimeError: x", "rank": 3, "started": 100.0, "ended": 190.0}
    end |= {"log": "logs/rank-3.log", "step": 39}
    node = {"host": "n1", "records": [{"rank": n, "error": "RuntimeError: x"} for n in (3, 4, 5)]}
    log = "".join(f"line {n}\n" for n in range(40)) + "RuntimeError: x\nbehind\n"
    _write(job.job_dir, plan_json=json.dumps(plan), exit_json=json.dumps(end), nodes__0_json=json.dumps(node))
    Path(job.job_dir, "metrics.jsonl").write_text(_lines([*STEPS, {"time": 141.0, "step": 39, "val_loss": 5.5}]))
    Path(job.job_dir, "logs", "rank-3.log").write_text(log)
    Path(job.run_dir, "history.jsonl").write_text(
        _lines(
            [
                {"event": "begun", "time": 100.0, "job_id": job.job_id, "attempt": 0, "nodes": ["n1"]},
                {"event": "ended", "time": 190.0, "job_id": job.job_id, "attempt": 0, "state": "FAILED"}
                | {"checkpoint": 29},
            ]
        )
    )
    out = launch("status", job.job_id)[1]
    for words in (
        "  step 40, loss 5.1000, 1,039 tokens/s, validation loss 5.5000 (step 40), 0:01:30 in all",
        "launched: python launch.py stub --batch local --name stub-a --after first,second a=1 run.env.time=04:00:00",
        "on local; 2 nodes, 16 processes",
        f"go on: python launch.py resume {job.job_id}, from its checkpoint of step 29, with the same code and config",
        "    | line 26\n",
        "    | RuntimeError: x\n  the same on 2 further ranks\n",
    ):
        assert words in out
    with Path(job.run_dir, "history.jsonl").open("a") as more:
        more.write(_lines([{"event": "begun", "time": 195.0, "job_id": job.job_id, "attempt": 1, "nodes": ["n1"]}]))
    assert "(step 40), 0:01:30 in its last attempt\n" in launch("status", job.job_id)[1]
    assert "line 25\n" not in out
    assert "behind" not in out
    document, (row,) = json.loads(launch("status", "--json")[1]), json.loads(launch("jobs", "--json")[1])
    assert document["progress"] == row["progress"]
    assert (row["progress"]["loss"], row["progress"]["elapsed_s"], row["progress"]["step_s"]) == (5.1, 90.0, 1.0)
    assert document["launched"]["overrides"] == ["a=1", "run.env.time=04:00:00"]
    assert document["go_on"] in out
    cells = launch("jobs")[1].splitlines()[1]
    assert cells.split()[1:2] == ["FAILED"]
    assert cells.endswith("40    5.1000  RuntimeError: x")


def test_a_job_that_is_waited_for_is_at_the_step_that_its_status_tells(launch: Cli) -> None:
    job = replace(launch.job(1), max_steps=150)
    assert Standing(job, Status("RUNNING", step=39)).words == f"{job.job_id} (RUNNING, step 40 of 150)"


def test_an_attempt_that_was_killed_is_not_blank(launch: Cli) -> None:
    job = launch.job(1, state=None)
    node = {"host": os.uname().nodename, "agent_pid": 1, "agent_start": 1, "step": 3}
    _write(job.job_dir, nodes__0_json=json.dumps(node))
    Path(job.job_dir, "metrics.jsonl").write_text(_lines(STEPS))
    begun = {"event": "begun", "job_id": job.job_id, "nodes": ["n1"]}
    Path(job.run_dir, "history.jsonl").write_text(
        _lines([begun | {"attempt": 0, "time": 50.0}, begun | {"attempt": 1, "time": 99.0}])
    )
    first, second = [line for line in launch("status")[1].splitlines() if " attempt " in line and line[:4] == "    "]
    assert "LOST" in first and "no record of its end (killed?)" in first
    assert "FAILED" in second and "to step 39" in second and "died without a record" in second
    states = [row["state"] for row in json.loads(launch("status", "--json")[1])["history"]]
    assert states == [history.LOST, "FAILED"]


@pytest.mark.parametrize(("state", "says"), [("COMPLETED", False), ("CANCELLED", True), ("TIMEOUT", True)])
def test_how_to_go_on(launch: Cli, state: str, says: bool) -> None:
    _startable(launch.job(1, state).job_dir)
    assert ("go on: python launch.py resume stub-a.1\n" in launch("status")[1]) is says


def _startable(job_dir: str) -> None:
    for name in resume.NEEDED:
        _write(job_dir, **{name.replace("/", "__"): ""})


def test_what_resume_would_refuse_is_not_advised(launch: Cli) -> None:
    """Of a job whose code was removed, whose directory is gone, or that ran in a container."""
    job = replace(launch.job(1, "FAILED"), typed=["my/r.py", "-c", "a b.yaml"])
    end = Status("FAILED", 1, ended=9.0, advice="python launch.py resume JOB goes on")
    records.save(launch.bench.workspace.records, replace(job, end=asdict(end)))
    _write(job.job_dir, plan_json=json.dumps({"nodes": 1, "provenance": {"x": "override x=1"}}))
    whole = "python launch.py my/r.py -c 'a b.yaml' --batch local --name stub-a x=1\n"
    assert f"go on: launch it again: {whole}" in launch("status")[1]
    assert "cannot be resumed: its code was removed from" in launch("resume", job.job_id)[2]
    shutil.rmtree(job.job_dir)
    out = launch("status")[1]
    assert "go on: launch it again, as before: python launch.py my/r.py -c 'a b.yaml' --batch local ..." in out
    assert "launch.py resume" not in out + launch("status", "--json")[1]
    assert "its directory is gone" in launch("resume", job.job_id)[2]
    assert not executors.get("docker").resumable


def test_records_that_anybody_may_have_written(launch: Cli) -> None:
    job = launch.job(1, "FAILED")
    rows = '{"step": 1e999, "loss": 3}\n{"step": 5, "time": 1, "loss": "x", "tps": []}\n[]\n\xff\n'
    Path(job.job_dir, "metrics.jsonl").write_text(rows)
    _write(job.job_dir, plan_json='{"nodes": "x", "provenance": [1], "profile_sources": {"a.b": "override run.env"}}')
    _write(job.job_dir, agent_json='{"data": {"named": [[], 3, ["megatron", {"a": 1}]]}, "backend": 7}')
    Path(job.run_dir, "history.jsonl").write_text('{"event": "ended", "attempt": "x", "checkpoint": {}}\n')
    for command in (("status",), ("status", "--json"), ("jobs",), ("jobs", "--json"), ("status", "-w")):
        assert launch(*command)[0] in (0, 1)


def test_a_heartbeat_that_anybody_may_have_written(launch: Cli) -> None:
    job = launch.job(1, state=None)
    node = {"host": os.uname().nodename, "agent_pid": os.getpid(), "agent_start": [], "step": "x", "started": {}}
    _write(job.job_dir, nodes__0_json=json.dumps(node))
    for command in (("status",), ("status", "--json"), ("jobs",), ("jobs", "--json"), ("status", "-w")):
        assert launch(*command)[0] in (0, 1)


# --- a screen


def _glance(**values: Any) -> Glance:
    attempts = [
        {
            "job_id": "a.1",
            "attempt": n,
            "nodes": [f"node{n}"],
            "began": 1e9 + n,
            "state": "NODE_FAIL",
            "why": "lost " * 9,
        }
        for n in range(30)
    ]
    speed = Speed(119, 120, 150, 5.5, 5.6, 99, 2345.0, 1.0, 30.0, 224.0)
    given: dict[str, Any] = {"speed": speed, "launched": Launched("python launch.py x", "x", "y", "z")}
    given |= {"phase": ("saving a checkpoint", 3.0), "attempts": attempts, "steps": STEPS, "nodes": ["n1"]}
    return Glance(**{**given, "warnings": [f"warning {n} \x1b]0;title\x07 {'w' * 300}" for n in range(9)], **values})


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("rows", [3, 10, 24, 60])
@pytest.mark.parametrize("blocks", [True, False])
def test_a_screen_fits(launch: Cli, columns: int, rows: int, blocks: bool) -> None:
    record, at = launch.job(1), Screen(columns, rows, blocks)
    error = Status("FAILED", error="x\n\x1b[2J" * 50, reason="r" * 500)
    seen = [_glance(), _glance(speed=Speed(), steps=[]), _glance(speed=Speed(5, 6, None, None), steps=[{"loss": None}])]
    for status in (Status("RUNNING"), Status("PENDING", reason="Priority"), error):
        for each in seen:
            lines = job_view.screen(record, status, each, at)
            assert len(lines) <= rows
            assert all(len(line) <= columns and (line.isprintable()) for line in lines)
            assert blocks or all(line.isascii() for line in lines)


def test_a_screen_of_80_x_24_holds_what_matters(launch: Cli) -> None:
    text = "\n".join(job_view.screen(launch.job(1), Status("RUNNING"), _glance(), Screen(80, 24)))
    for words in ("RUNNING on n1", "step 120 of 150", "80%", "0:00:30 left", "loss          5.1000  █", "at step 100"):
        assert words in text
    for words in ("attempts (the last 5 of 30)", "last warnings (the last 3 of 9)", "now: saving a checkpoint, 3 s"):
        assert words in text


def test_an_error_that_calls_itself_one_is_not_called_so_twice(launch: Cli) -> None:
    status = Status("FAILED", code=1, error="error: no room")
    assert "error: no room" in list(job_view.screen(launch.job(1), status, _glance(), Screen(80, 60)))


def test_curves() -> None:
    assert spark.line([1.0, 2.0, 3.0], 10, True) == "▁▅█"
    assert spark.line([1.0, None, 3.0], 10, False) == "_ @"
    assert spark.line([float("nan"), None], 10, True) == ""
    assert spark.line([2.0] * 5, 3, True) == "▁▁▁"
    assert len(spark.line([float(n) for n in range(1000)], 33, True)) == 33
    assert spark.bar(0.5, 12, False) == "[#####-----]"
    assert spark.bar(7.0, 0, False) == "[#]"
    assert not spark.has_blocks("ascii")
    assert not spark.has_blocks("no such encoding")


def test_looks_are_never_more_frequent_than_those_of_attach_and_become_rare() -> None:
    pause = Pause(2.0)
    waits = [pause.after(False) for _ in range(30)]
    assert min(waits) >= 2.0
    assert waits == sorted(waits)
    assert waits[-1] == SLOWEST_S
    assert pause.after(True) == 2.0
    pause.least = 60.0
    assert pause.after(False) == 60.0


def test_a_look_is_one_reading(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    record, calls = launch.job(1, "FAILED"), list[int]()
    whole = LocalFileSystem.read_many

    def counted(place: LocalFileSystem, wanted: Any) -> Any:
        calls.append(len(wanted))
        return whole(place, wanted)

    monkeypatch.setattr(LocalFileSystem, "read_many", counted)
    looker = Looker(record)
    looker.look(Status("RUNNING"))
    looker.look(Status("RUNNING"))
    assert calls == [12, 8]


def test_a_place_that_is_away_for_a_moment_does_not_end_a_watch(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    record, now = launch.job(1, state=None), Status("RUNNING", step=3)

    def away(*_: Any) -> Any:
        raise ClusterError("it is away")

    monkeypatch.setattr(LocalFileSystem, "read_many", away)
    monkeypatch.setattr(LocalFileSystem, "read", away)
    told = show_status._document(record, now, show_status._seen(record, now))
    assert (told["state"], told["step"], told["metrics"], told["progress"]) == ("RUNNING", 3, None, None)


# --- on a terminal, and where there is none


def _on_terminal(checkout: Checkout, *args: str, until: bytes, size: tuple[int, int] = (80, 24), **env: str) -> Any:
    """Run launch.py on a terminal until it shows something, then press Ctrl-C: its output, exit code, the modes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    before = termios.tcgetattr(slave)
    environ = {**checkout.environ, "TERM": "xterm-256color", **env}
    process = subprocess.Popen(
        checkout.command(*args), stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=checkout.root,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    out, end, pressed = b"", time.monotonic() + LIMIT_S, False
    while time.monotonic() < end and (process.poll() is None or select.select([master], [], [], 0)[0]):
        if select.select([master], [], [], 0.1)[0]:
            out += os.read(master, 65536)
        if until in out and not pressed:
            os.write(master, b"\x03")
            pressed = True
    after = termios.tcgetattr(slave)
    os.close(slave)
    os.close(master)
    assert pressed, out[-2000:]
    return out, process.wait(LIMIT_S), before == after


@pytest.mark.e2e
def test_watching_a_real_job(checkout: Checkout) -> None:
    """On terminals of all kinds, and piped; then its end, with the job's own exit code."""
    begin = ("stub-one", "--batch", "local")
    assert checkout.run(*begin, "--name", "seen", "steps=9000", "pause=0.1").returncode == 0
    wait_for(lambda: (checkout.root / "runs/seen.1/metrics.jsonl").exists())
    out, code, same = _on_terminal(checkout, "status", "-w", "seen", until=b"loss ")
    shown, _, left = out.rpartition(b"\x1b[?1049l")
    assert (code, same) == (130, True)
    assert shown.count(b"\x1b[?1049h") == 1
    assert out.rindex(b"\x1b[?25h") > out.rindex(b"\x1b[?25l"), "the cursor is there again"
    assert b"seen.1: RUNNING" in left and b"stopped watching; seen.1 goes on" in left
    assert "▁".encode() in shown
    frames = shown.partition(b"^C")[0].split(b"\x1b[H")[2:]
    assert all(len(line.rstrip("\r")) <= 80 for frame in frames for line in frame.decode().split("\n"))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    out, code, same = _on_terminal(checkout, "jobs", "-w", until=b"seen.1", size=(40, 10), **ascii_only)
    assert (code, same, out.isascii()) == (130, True, True)
    out, code, same = _on_terminal(checkout, "status", "-w", until=b"loss ", TERM="dumb")
    assert (code, same, b"\x1b" in out) == (130, True, False)
    assert checkout.run("cancel", "--now", "seen").returncode == 0
    failing = ("steps=12", f"+until={checkout.root}/seen", "code=7", "fail_rank=0")
    assert checkout.run(*begin, "--name", "fails", *failing).returncode == 0
    words = checkout.command("status", "-w", "fails", "--json")
    environ = {**checkout.environ, "TERM": "xterm"}
    with subprocess.Popen(words, env=environ, cwd=checkout.root, stdout=subprocess.PIPE, text=True) as piped:
        assert piped.stdout is not None
        first = piped.stdout.readline()
        (checkout.root / "seen").touch()
        looks = [json.loads(line) for line in (first, *piped.stdout)]
    assert piped.returncode == 7
    assert len({(look["state"], look["progress"]["done"], look["phase"]) for look in looks}) == len(looks) > 1
    assert (looks[-1]["state"], looks[-1]["progress"]["done"]) == ("FAILED", 12)
    again = checkout.run("status", "-w", "fails")
    assert (again.returncode, len(again.stdout.splitlines())) == (7, 1)
    assert "FAILED  step 12, loss -2.0000" in again.stdout
    assert checkout.run("jobs", "-w").stdout.count("fails.1 FAILED") == 1


def test_a_loss_that_nothing_tells_is_no_nan() -> None:
    assert Speed(5, 6).words(over=False) == "step 6, loss nan"
    assert Speed(5, 6, is_logged=False).words(over=False) == "step 6"


@pytest.mark.parametrize("spares", [[], ["b"]])
def test_where_a_start_went_is_told_until_the_first_step(launch: Cli, spares: list[str]) -> None:
    """In seconds of the clock: a spare node makes no phase shorter."""
    job = launch.job(1, "FAILED")
    begun = {"event": "begun", "time": 1000.0, "job_id": job.job_id, "attempt": 0, "nodes": ["a"], "gpus": 1}
    Path(job.run_dir, "history.jsonl").write_text(json.dumps({**begun, "spares": spares}) + "\n")
    spans = [
        ("startup commands", 1010, 1013),
        ("importing", 1013, 1033.4),
        ("loading", 1033.4, 1033.6),
        ("importing", 1034, 1035),
    ]
    told = [{"attempt": 0, "by": "rank", "phase": p, "since": a, "until": b} for p, a, b in spans]
    Path(job.job_dir, "phases.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in told))
    assert "  its start: startup commands 3 s, importing 21 s\n" in launch("status", job.job_id)[1]
    found = json.loads(launch("status", job.job_id, "--json")[1])["startup_s"]
    assert found["startup commands"] == 3.0 and found["importing"] == pytest.approx(21.4)
    assert list(found) == ["startup commands", "importing", "loading"]  # what is over, in its order
    Path(job.job_dir, "metrics.jsonl").write_text('{"time": 1040.0, "step": 0, "loss": 2.0}\n')
    assert "its start" not in launch("status", job.job_id)[1]
