"""What a job has written reaches a terminal harmlessly, whatever the terminal can show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automodel_launch.jobs.records import Record
from tests.commands.conftest import Cli
from tests.conftest import ROOT

NASTY = "\x1b]0;owned\x07\x1b[2J\x00\u202e \u2713 \x1b[31mred\x1b[0m"
WRONG = ("\x1b]", "\x1b[2J", "\x00", "\x07", "\u202e")


@pytest.fixture
def job(launch: Cli) -> Record:
    """A failed job whose every text is nasty, and whose log is no UTF-8."""
    job = launch.job(state="FAILED")
    Path(job.job_dir, "logs", "rank-0.log").write_bytes(NASTY.encode() + b"\n\xff\xfe latin \xe9\n")
    record = {"state": "FAILED", "code": 3, "error": NASTY, "rank": 0, "node": NASTY, "log": NASTY, "ended": 2000.0}
    Path(job.job_dir, "exit.json").write_text(json.dumps(record))
    history = [
        {"event": "ended", "time": 1.0, "job_id": NASTY, "attempt": n, "state": NASTY, "why": NASTY, "nodes": [NASTY]}
        for n in (0, 1)
    ]
    Path(job.run_dir, "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    Path(job.job_dir, "metrics.jsonl").write_text(json.dumps({"loss": NASTY, "step": NASTY}) + "\n")
    return job


COMMANDS = (["status"], ["metrics"], ["jobs"], ["logs"], ["logs", "--rank", "all"], ["logs", "--follow"], ["attach"])


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_nothing_of_a_job_acts_on_the_terminal(launch: Cli, job: Record, argv: list[str]) -> None:
    _, out, err = launch(*argv)
    assert not [mark for mark in WRONG if mark in out + err]
    assert "Traceback" not in err
    if argv[0] == "logs":
        assert "\x1b[31mred\x1b[0m" in out, "a log's colours stay"


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_the_characters(launch: Cli, job: Record, argv: list[str], encoding: str) -> None:
    done = _run(launch, argv, PYTHONIOENCODING=encoding)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (3 if argv[0] == "attach" else 0), done.stderr
    (done.stdout + done.stderr).decode(encoding)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
@pytest.mark.parametrize("argv", [["status"], ["logs"], ["attach"]], ids=" ".join)
def test_a_stream_that_is_closed(launch: Cli, job: Record, argv: list[str], closed: str) -> None:
    code = f"{'>&-' if closed == 'stdout' else '2>&-'}"
    done = _run(launch, argv, wrap=code)
    assert done.returncode == (3 if argv[0] == "attach" else 0)
    assert b"Traceback" not in done.stdout + done.stderr


def test_json_holds_what_was_written_as_it_is(launch: Cli, job: Record) -> None:
    for argv in (("logs", "--json"), ("logs", "--follow", "--json")):
        out = launch(*argv)[1]
        first = json.loads(out)["lines"][0] if "--follow" not in argv else json.loads(out.splitlines()[0])
        assert first["line"] == NASTY


def _run(launch: Cli, argv: list[str], wrap: str = "", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """launch.py in a process of its own, with this workspace."""
    package = str(launch.bench.root / "automodel_launch")
    code = (
        "import sys; from pathlib import Path; from automodel_launch import workspace;"
        f" workspace.PACKAGE = Path({package!r}); from automodel_launch.commands import main;"
        f" sys.exit(main.main({argv!r}))"
    )
    command = ["bash", "-c", f'exec "$0" -c "$1" {wrap}', sys.executable, code]
    return subprocess.run(
        command, env={**os.environ, **environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
