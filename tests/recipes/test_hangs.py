"""A training that hangs is ended, with the stacks of every rank; one that is merely slow is left alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.ports import free_port
from tests.recipes.hook_server import Hook
from tests.recipes.pretrain_fixtures import ROOT
from tests.recipes.test_node_agent import MakeJob, eventually, make_job  # noqa: F401

sys.path.insert(0, str(ROOT / "recipes"))

from node_agent_lib import backends, metrics, records, stacks
from node_agent_lib.stall import Progress, Stall

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


# when a training counts as hung, by a clock that is moved by hand


def looks(stall: Stall, progress: Progress, begin: float, seconds: float) -> bool:
    """Whether it is found hung at some second of that time."""
    return any(stall.check(progress, begin + second) for second in range(int(seconds) + 1))


def test_no_step_for_so_long_is_a_hang() -> None:
    stall, progress = Stall(60.0, True), Progress(steps=1)
    assert not looks(stall, progress, 0, 2)
    progress.steps = 2
    assert not looks(stall, progress, 3, 59)
    hung = stall.check(progress, 63)
    assert hung is not None
    assert (hung.idle_s, hung.step_s) == (60, 3)


def test_a_run_of_slow_steps_gets_ten_of_its_own_steps() -> None:
    stall, progress = Stall(60.0, True), Progress()
    for step in range(5):
        progress.steps = step + 1
        assert not looks(stall, progress, 50.0 * step, 49)
    assert not looks(stall, progress, 250, 440)
    assert looks(stall, progress, 691, 20)


def test_before_the_first_step_any_line_counts_and_an_hour_is_given() -> None:
    stall, progress = Stall(60.0, True), Progress(log_bytes=1)
    assert not looks(stall, progress, 0, 3500)
    progress.log_bytes = 2
    assert not looks(stall, progress, 3501, 3599)
    assert looks(stall, progress, 7101, 5)


def test_a_script_that_takes_no_steps_never_hangs_without_torchrun() -> None:
    assert not looks(Stall(60.0, False), Progress(), 0, 100_000)


def test_a_suspended_job_was_not_hung_meanwhile() -> None:
    stall, progress = Stall(60.0, True), Progress(steps=1)
    assert not looks(stall, progress, 0, 10)
    assert stall.check(progress, 100_000) is None, "nobody looked for a day: not the training stood still but the agent"
    assert not looks(stall, progress, 100_001, 30)
    assert looks(stall, progress, 100_032, 20)


def test_a_checkpoint_that_grows_and_a_validation_are_progress(tmp_path: Path) -> None:
    checkpoint = tmp_path / "epoch_0_step_4"
    stall, progress = Stall(60.0, True), Progress(steps=1, saving=str(checkpoint))
    checkpoint.mkdir()
    for second in range(300):
        with (checkpoint / "shard").open("ab") as file:
            file.write(b"x")
        assert stall.check(progress, float(second)) is None
    progress.others = 1
    assert not looks(stall, progress, 301, 59)
    assert looks(stall, progress, 361, 20)


def test_a_save_that_is_written_over_one_that_was_cut_short_is_progress(tmp_path: Path) -> None:
    """Its files are there already, as large as they become."""
    files = [tmp_path / f"part-{number}" for number in range(4)]
    for path in files:
        path.write_text("x")
        os.utime(path, (1.0, 1.0))
    stall, progress = Stall(60.0, True), Progress(steps=1, saving=str(tmp_path))
    for number, path in enumerate(files):
        assert not looks(stall, progress, 50.0 * number, 49.0)
        path.write_text("x")
    assert not looks(stall, progress, 200.0, 49.0)
    assert looks(stall, progress, 250.0, 60.0)


def test_rank_0s_log_tells_the_progress(tmp_path: Path) -> None:
    log = tmp_path / "rank-0.log"
    follower = metrics.Follower(backends.get("automodel"), str(log), str(tmp_path / "metrics.jsonl"))
    log.write_text(
        "2026-01-01 | INFO | root | step 4 | epoch 0 | loss 1.5 | lr 1.0e-04\n"
        "2026-01-01 | INFO | nemo_automodel.recipes.base_recipe | Saving checkpoint to /runs/a b/epoch_0_step_4\n"
        '2026-01-01 | INFO | root | [val] name "default" | step 4 | epoch 0 | loss 1.6 | lr 1.0e-04\n'
    )
    follower.poll()
    told = follower.progress
    assert told == Progress(1, 2, log.stat().st_size, "/runs/a b/epoch_0_step_4", told.save_s)
    assert told.save_s is not None  # from the line that begins it to the next one of the training


# real processes


def test_a_stopped_script_without_torchrun_is_dumped_ended_and_named(
    make_job: MakeJob,  # noqa: F811
    tmp_path: Path,
    hook: Hook,
) -> None:
    job = make_job("hangs.py", tmp_path, 3, "stops", stall_s=2.0, notify=[hook.url])
    job.dir.mkdir(parents=True)
    (job.dir / "agent.json").write_text(json.dumps(job.spec))
    agent = job.agent()
    assert agent.wait(LIMIT_S) == 124, agent.communicate()[1]
    assert (job.exit["state"], job.exit["code"], job.exit["step"]) == ("FAILED", 124, 2)
    assert job.exit["error"].startswith("hung: no step for ")
    assert job.exit["error"].endswith("; rank 0 is stopped by a signal (SIGSTOP)")
    stacks = (job.dir / "logs" / "stack-0.txt").read_text()
    assert "stopped by a signal (SIGSTOP)" in stacks
    assert "hangs.py" in stacks.partition("--- faulthandler")[2]
    assert [event["state"] for event in job.lines("events.jsonl")] == ["started", "training", "hung", "ended"]
    assert job.processes() == []
    eventually(lambda: len(hook.posted) == 2, "what the agent may have left to a process that sends")
    assert [body["event"] for _, body in hook.posted] == ["hung", "failed"]
    assert hook.posted[0][1]["error"].startswith("hung: no step for")


def test_a_stopped_rank_is_named_and_the_one_that_waits_for_it_is_dumped_too(make_job: MakeJob, tmp_path: Path) -> None:  # noqa: F811
    job = make_job("hangs.py", tmp_path, 3, "stops", launch="torchrun", nproc_per_node=2, stall_s=3.0)
    agent = job.agent()
    assert agent.wait(LIMIT_S) == 124, agent.communicate()[1]
    assert job.exit["error"].startswith("hung: no step for ")
    assert job.exit["error"].endswith("; rank 1 is stopped by a signal (SIGSTOP)")
    waiting, away = ((job.dir / "logs" / f"stack-{rank}.txt").read_text() for rank in (0, 1))
    assert "all_reduce" in waiting
    assert "hangs.py" in away.partition("--- faulthandler")[2]
    assert "all_reduce" not in away
    eventually(lambda: job.processes() == [], "the end of all processes")


def test_py_spy_is_used_where_it_is_installed(make_job: MakeJob, tmp_path: Path) -> None:  # noqa: F811
    spy = tmp_path / "bin" / "py-spy"
    spy.parent.mkdir()
    spy.write_text('#!/bin/sh\necho "spied with $@"\n')
    spy.chmod(0o755)
    assert stacks.find_py_spy(str(spy.parent / "python"), {}) == str(spy)
    assert stacks.find_py_spy("/nowhere/python", {b"PATH": os.fsencode(spy.parent)}) == str(spy)
    assert stacks.find_py_spy("/nowhere/python", {b"PATH": b"/nowhere"}) is None
    job = make_job("hangs.py", tmp_path, 1, "sleeps")
    job.agent()
    job.wait_for_record()
    pid = job.ranks_in_record(1)["0"]
    rank = records.RankRecord(0, 0, "here", pid, None, 0, None, 0.0)
    (tmp_path / "logs").mkdir()
    eventually((tmp_path / "ready-0").exists, "the step")
    stacks.dump(str(tmp_path), [rank], "a test", str(spy), lambda: None)
    text = (tmp_path / "logs" / "stack-0.txt").read_text()
    assert f"--- py-spy\nspied with dump --nonblocking --pid {pid}\n" in text


def test_every_node_of_a_hung_job_dumps_and_one_of_them_is_the_reason(
    make_job: MakeJob,  # noqa: F811
    tmp_path: Path,
) -> None:
    rendezvous = {"id": "two", "port": free_port()}
    job = make_job("hangs.py", tmp_path, 3, "sleeps", launch="torchrun", nnodes=2, stall_s=3.0, rendezvous=rendezvous)
    agents = [job.agent(node=node) for node in (1, 0)]
    assert [agent.wait(LIMIT_S) for agent in agents] == [124, 124], [agent.communicate()[1] for agent in agents]
    assert (job.exit["state"], job.exit["code"]) == ("FAILED", 124)
    assert job.exit["error"].startswith("hung: no step for ")
    assert "all_reduce" in (job.dir / "logs" / "stack-0.txt").read_text()
    assert "the training hangs, says node 0" in (job.dir / "logs" / "stack-1.txt").read_text()
    assert job.node(1)["failure"]["victim"]
    assert job.processes() == []


def test_without_the_key_nobody_looks_and_nothing_is_left(make_job: MakeJob, tmp_path: Path) -> None:  # noqa: F811
    job = make_job("trains.py")
    assert job.run()[0] == 0
    assert sorted(path.name for path in (job.dir / "logs").iterdir()) == ["agent-0.log", "rank-0.log"]
    assert json.loads((job.dir / "nodes" / "0.json").read_text())["failure"] is None


def test_a_loss_that_is_no_number_any_more(make_job: MakeJob) -> None:  # noqa: F811
    job = make_job("diverges.py", max_nan_steps=4)
    code, said = job.run()
    assert code == 1, said
    assert job.exit["error"].startswith("the loss is not a number: ")
    assert 7 <= job.exit["step"] < 1900  # one step of that kind, before the last number, does not count
