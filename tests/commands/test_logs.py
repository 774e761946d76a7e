"""`logs`: what ranks have logged, as text and as JSON."""

from __future__ import annotations

import functools
import io
import json
import time
from pathlib import Path

import pytest

from automodel_launch.commands import logs
from automodel_launch.launch import follow
from tests.commands.conftest import Cli
from tests.conftest import Checkout, Main

LOGS = {0: "first\nlast", 1: "other\n"}


def test_text(launch: Cli) -> None:
    job = launch.job(logs=LOGS)
    assert launch("logs", job.job_id) == (0, "first\nlast\n", "")
    assert launch("logs", job.job_id, "--rank", "1")[1] == "other\n"
    assert launch("logs", job.job_id, "--rank", "all")[1] == "[0] first\n[0] last\n[1] other\n"
    launch.refused(2, ("logs", job.job_id, "--rank", "7"), "no rank 7", "0 to 1")
    launch.refused(2, ("logs", job.job_id, "--rank", "1x"), "1x")


def test_bare_takes_the_last_job_and_says_so(launch: Cli) -> None:
    launch.job(1, logs={0: "old\n"})
    launch.job(2, logs={0: "new\n"})
    assert launch("logs") == (0, "new\n", "the last job: stub-a.2\n")


@pytest.mark.parametrize(("rank", "ranks"), [("0", [0]), ("all", [0, 1])])
def test_a_document(launch: Cli, rank: str, ranks: list[int]) -> None:
    job = launch.job(logs=LOGS)
    document = json.loads(launch("logs", job.job_id, "--rank", rank, "--json")[1])
    assert (document["job_id"], document["ranks"]) == (job.job_id, ranks)
    lines = [(row["rank"], row["line"]) for row in document["lines"]]
    assert lines == [row for row in ((0, "first"), (0, "last"), (1, "other")) if row[0] in ranks]


def test_before_the_first_rank_has_logged(launch: Cli) -> None:
    job = launch.job()
    Path(job.job_dir, "logs", "agent-0.log").write_text("the agent's word\n")
    assert launch("logs", job.job_id)[1] == "the agent's word\n"
    document = json.loads(launch("logs", job.job_id, "--json")[1])
    assert document["lines"] == [{"rank": None, "line": "the agent's word"}]


STEP = "slurmstepd-n1: error: pyxis: child 7 failed with error code: 1\n"


def test_the_steps_log_where_no_rank_has_logged(launch: Cli) -> None:
    job = launch.job(state="FAILED")
    folder = Path(job.job_dir, "logs")
    code, out, err = launch("logs", job.job_id)
    assert (code, out) == (0, "") and f"{job.job_id} has left no log (FAILED" in err
    (folder / "sbatch_stub-a.1_5.out").write_text("+ srun\n")
    assert launch("logs", job.job_id)[1] == "+ srun\n"
    (folder / "log-stub-a.1_5_0.out").write_text(STEP)
    _, out, err = launch("logs", job.job_id, "--rank", "all")
    assert out == STEP and f"no rank has logged; this is {folder}/log-stub-a.1_5_0.out" in err
    document = json.loads(launch("logs", job.job_id, "--json")[1])
    assert document["lines"] == [{"rank": None, "line": STEP.strip()}]
    assert launch("logs", job.job_id, "--follow")[1] == STEP
    (folder / "rank-0.log").write_text("trained\n")
    assert launch("logs", job.job_id) == (0, "trained\n", "")


def test_following_a_job_that_ends_without_a_rank_shows_why(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    job = launch.job(state=None)
    Path(job.job_dir, "logs", "log-stub-a.1_5_0.out").write_text(STEP)
    end = json.dumps({"state": "FAILED", "code": 1, "error": "no container"})

    def wait(_: float) -> None:
        Path(job.job_dir, "exit.json").write_text(end)

    monkeypatch.setattr(follow, "Follower", functools.partial(follow.Follower, sleep=wait))
    assert launch("logs", job.job_id, "--follow")[:2] == (1, STEP)
    Path(job.job_dir, "exit.json").unlink()
    out = launch("logs", job.job_id, "--follow", "--json")[1]
    line, last = out.splitlines()
    assert json.loads(line)["line"] == STEP.strip() and json.loads(last)["state"] == "FAILED"


def test_following_a_job_that_is_over(launch: Cli) -> None:
    job = launch.job(logs=LOGS)
    code, out, _ = launch("logs", job.job_id, "--follow", "--json")
    *lines, end = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines == [{"job_id": job.job_id, "rank": 0, "line": line} for line in ("first", "last")]
    assert (end["job_id"], end["state"]) == (job.job_id, "COMPLETED")


@pytest.mark.parametrize(("rank", "written"), [(None, "[12] a [1] b\n"), (12, "a [1] b\n")])
def test_an_object_a_line(rank: int | None, written: str) -> None:
    out = io.StringIO()
    logs.Objects("j.1", rank, out).write(written)
    assert json.loads(out.getvalue()) == {"job_id": "j.1", "rank": 12, "line": "a [1] b"}


@pytest.mark.e2e
def test_following_a_job_that_runs(checkout: Checkout, main: Main) -> None:
    main(checkout, "stub", "--batch", "local", "steps=3", "pause=0.3", "value=x")
    done = main(checkout, "logs", "--follow", "--rank", "all", "--json")
    *lines, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {(row["rank"], row["line"]) for row in lines} >= {(0, "value x"), (1, "value x")}
    assert end["state"] == "COMPLETED"


STACK = "Traceback (most recent call last):\n  File 'x', line {0}\n    f()\nRuntimeError: at {0:#x} of {0}\n"


def test_errors_of_all_ranks_the_like_once(launch: Cli) -> None:
    logs = {rank: f"a line\n{STACK.format(rank)}more\n" for rank in range(12)}
    logs[5] = "ERROR: another\n" + logs[5]
    launch.job(logs=logs)
    out = launch("logs", "--errors")[1]
    assert out.count("Traceback") == 1
    assert "rank 5:\n  ERROR: another\n" in out
    assert "rank 0 and 11 further ranks:\n  Traceback" in out
    assert "a line" not in out and "more" not in out
    (first, second) = json.loads(launch("logs", "--errors", "--json")[1])["errors"]
    assert sorted(map(len, (first["ranks"], second["ranks"]))) == [1, 12]
    assert launch("logs", "--errors", "--rank", "5")[1].count("rank 5:") == 2
    assert launch("logs", "--errors", "--grep", "another")[1] == "rank 5:\n  ERROR: another\n"


def test_nothing_that_looks_like_an_error(launch: Cli) -> None:
    job = launch.job(logs=LOGS)
    assert launch("logs", job.job_id, "--errors") == (
        0,
        "",
        f"nothing in the logs of {job.job_id} looks like an error\n",
    )
    assert json.loads(launch("logs", "--errors", "--json")[1])["errors"] == []


def test_grep_of_all_ranks_or_of_one(launch: Cli) -> None:
    launch.job(logs=LOGS)
    assert sorted(launch("logs", "--grep", "^(la|ot)")[1].splitlines()) == ["[0] last", "[1] other"]
    assert launch("logs", "--grep", "last|other", "--rank", "1")[1] == "other\n"
    rows = json.loads(launch("logs", "--grep", "o", "--json")[1])["lines"]
    assert rows == [{"rank": 1, "line": "other"}]
    launch.refused(2, ("logs", "--grep", "(a"), "--grep (a", "regular expression")
    launch.refused(2, ("logs", "--since", "ten"), "--since ten", "10m")


def test_since_counts_by_the_times_in_the_lines(launch: Cli) -> None:
    def at(ago: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - ago))

    old = f"no time\n{at(4000)} | INFO | old\n of the old one\n"
    new = f" [{at(60)}] iteration 3\n of the new one\n2026-99-99 99:99:99 no time at all\n"
    launch.job(logs={0: old + new, 1: f"[node agent 0 {at(30)}] said\n"})
    assert launch("logs", "--since", "10m")[1].splitlines() == new.splitlines()
    assert launch("logs", "--since", "2h")[1].splitlines() == (old + new).splitlines()[1:]
    assert launch("logs", "--since", "45s", "--rank", "all")[1].startswith("[1] [node agent 0 ")
    assert launch("logs", "--since", "10m", "--grep", "new")[1] == "[0]  of the new one\n"


def test_since_without_a_time_in_any_line_is_said(launch: Cli) -> None:
    launch.job(logs=LOGS)
    code, out, err = launch("logs", "--since", "10m")
    assert (code, out) == (0, "")
    assert "no line of these logs has a time in it" in err


def test_a_filter_that_finds_nothing_says_what_was_looked_for(launch: Cli) -> None:
    job = launch.job(logs={0: "ERROR: of 5\n"}, state="FAILED")
    where = f"the logs of {job.job_id}"
    assert launch("logs", "--grep", "a b")[2].endswith(f"no line in {where} matches --grep 'a b'\n")
    nothing = f"nothing in {where} looks like an error, among the lines that match --grep zzz\n"
    assert launch("logs", "--errors", "--grep", "zzz")[2].endswith(nothing)
    assert f"rank 0 of {job.job_id}" in launch("logs", "--grep", "x", "--rank", "0")[2]


@pytest.mark.parametrize("chosen", [("--errors",), ("--grep", "of 5")])
def test_following_a_filter_of_a_job_that_is_over_is_an_object_a_line(launch: Cli, chosen: tuple[str, ...]) -> None:
    launch.job(logs={0: "ERROR: of 5\n"}, state="FAILED")
    line, end = map(json.loads, launch("logs", "--follow", "--json", *chosen)[1].splitlines())
    assert (line["line"], end["state"]) == ("ERROR: of 5", "FAILED")
