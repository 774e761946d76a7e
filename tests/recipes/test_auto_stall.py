"""stall = "auto": a hang is found without a number from anybody, and nothing that is merely slow is taken for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.pretrain_fixtures import ROOT
from tests.recipes.test_node_agent import MakeJob, eventually, make_job  # noqa: F401

sys.path.insert(0, str(ROOT / "recipes"))

from node_agent_lib import phases
from node_agent_lib.activity import Activity, Sample
from node_agent_lib.auto_stall import AutoStall
from node_agent_lib.phases import Phase
from node_agent_lib.stall import Progress
from pretrain_lib import index_files, phase

HOUR = 3600.0
STEPPING = Phase(None, 0.0, 0)
SAVING = Phase("saving a checkpoint", 1.0, 1)
INDEX = Phase("building the index of the data", 1.0, 1)


class Seen(Activity):
    """What the processes are seen to do, as a test says."""

    def __init__(self) -> None:
        super().__init__(list)
        self.now = Sample()

    def look(self, now: float) -> Sample:
        return self.now


class Run:
    """A run by a clock that is moved by hand, a second at a time."""

    def __init__(self, from_start: bool = True, others: Callable[[], bool] = lambda: False) -> None:
        self.seen, self.progress, self.at = Seen(), Progress(), 0.0
        self.stall = AutoStall(from_start, self.seen, others)

    def hangs(self, seconds: float) -> float | None:
        """After how many seconds of standing still it counts as hung, None where it does not within `seconds`."""
        begun = self.at
        while self.at < begun + seconds:
            self.at += 2.0
            if self.stall.check(self.progress, self.at) is not None:
                return self.at - begun
        return None

    def steps(self, count: int, each_s: float, told: Phase | None = STEPPING) -> Run:
        self.stall.phase = told
        for _ in range(count):
            self.progress.steps += 1
            assert self.hangs(each_s) is None
        return self


def test_ten_minutes_without_a_step_after_quick_ones() -> None:
    assert Run().steps(10, 2).hangs(HOUR) == pytest.approx(598, abs=6)


def test_twenty_of_its_own_steps_where_they_are_slow() -> None:
    assert Run().steps(6, 120).hangs(2 * HOUR) == pytest.approx(19 * 120, abs=10)


def test_three_of_its_slowest_step() -> None:
    run = Run().steps(5, 10)
    assert run.steps(1, 500).steps(2, 10).hangs(2 * HOUR) == pytest.approx(1490, abs=10)


def test_the_first_steps_have_an_hour() -> None:
    run = Run().steps(2, 2)
    assert run.hangs(HOUR - 10) is None, "the second step compiles again"
    assert run.hangs(60) is not None


@pytest.mark.parametrize("told", [SAVING, Phase("validation", 1.0, 1), Phase("ending", 1.0, 1)])
def test_a_phase_that_is_told_has_an_hour(told: Phase) -> None:
    run = Run().steps(10, 2)
    run.stall.phase = told
    assert run.hangs(2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_a_validation_that_goes_on_batch_by_batch_never_hangs() -> None:
    run = Run().steps(10, 2)
    for batch in range(50):
        run.stall.phase = Phase("validation", 1.0, batch)
        assert run.hangs(500) is None


def test_a_script_that_tells_no_phase_has_an_hour() -> None:
    assert Run().steps(10, 2, None).hangs(2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_a_validation_once_seen_to_be_long_has_three_times_as_long() -> None:
    run = Run().steps(10, 2)
    validating = Phase("validation", 1.0, 1)
    for _ in range(3):  # the hour is told apart by nothing else
        run.stall.phase = validating
        assert run.hangs(HOUR - 100) is None
        run.progress.others += 1
        run.steps(5, 2)
    run.stall.phase = validating
    assert run.hangs(4 * HOUR) == pytest.approx(3 * (HOUR - 100), abs=60)


def test_a_file_system_that_does_not_answer_has_an_hour() -> None:
    run = Run().steps(10, 2)
    run.seen.now = Sample(waits=True)
    assert run.hangs(2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_a_rank_that_spins_in_a_collective_is_no_progress() -> None:
    run = Run().steps(10, 2)
    run.seen.now = Sample(computes=True)
    assert run.hangs(HOUR) == pytest.approx(598, abs=6)


def test_before_the_first_step_an_hour_of_nothing() -> None:
    assert Run().hangs(2 * HOUR) == pytest.approx(HOUR, abs=10)


def test_a_start_that_compiles_has_six_hours_and_one_that_reads_all_the_time_it_takes() -> None:
    compiling = Run()
    compiling.seen.now = Sample(computes=True)
    assert compiling.hangs(8 * HOUR) == pytest.approx(6 * HOUR, abs=10)
    reading = Run()
    reading.seen.now = Sample(transfers=True)
    assert reading.hangs(20 * HOUR) is None


def test_a_phase_and_a_line_of_the_log_are_progress_before_the_first_step() -> None:
    run = Run()
    run.stall.phase = INDEX
    assert run.hangs(HOUR - 100) is None
    run.progress.log_bytes = 5
    assert run.hangs(HOUR - 100) is None
    run.stall.phase = STEPPING
    assert run.hangs(HOUR - 100) is None


def test_another_node_that_works_is_waited_for() -> None:
    assert Run(others=lambda: True).hangs(5 * HOUR) is None


def test_a_script_that_need_not_take_steps_is_not_hung_before_its_first() -> None:
    assert Run(from_start=False).hangs(20 * HOUR) is None


def test_a_suspended_job_was_not_hung_meanwhile() -> None:
    run = Run().steps(10, 2)
    run.at += 30 * HOUR
    assert run.hangs(500) is None


def test_restarted_ranks_have_the_time_of_a_start() -> None:
    run = Run().steps(10, 2)
    run.stall.restarted(run.progress)
    assert run.hangs(HOUR - 100) is None


# what is seen of processes


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_what_a_process_does_is_seen() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy,
        subprocess.Popen(["sleep", "600"]) as idle,
    ):
        try:
            one, other = Activity(lambda: [busy.pid]), Activity(lambda: [idle.pid])
            assert not one.look(0.0).computes, "there was no look before"
            other.look(0.0)
            eventually(lambda: ticks(busy.pid) >= 100, "a second of CPU time")
            assert one.look(1.0).computes
            assert other.look(1.0) == Sample()
        finally:
            busy.kill()
            idle.kill()


def test_what_a_process_reads_is_seen(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    mine = Activity(lambda: [os.getpid()])
    mine.look(0.0)
    (tmp_path / "data").read_bytes()
    assert mine.look(1.0).transfers


# phases, from a rank to the record of its node


def test_a_phase_reaches_the_nodes_record_and_goes_with_the_first_step(make_job: MakeJob, tmp_path: Path) -> None:  # noqa: F811
    script = tmp_path / "starts.py"
    script.write_text(
        "import os, sys, time; from pathlib import Path\n"
        f"sys.path.append({str(ROOT / 'recipes')!r})\n"
        "from pretrain_lib import phase\n"
        "phase.enter('compiling the data helper')\n"
        f"while not Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)\n"
        "phase.enter(None)\n"
        "print('x | step 0 | epoch 0 | loss 1.5 | lr 1', file=sys.stderr, flush=True)\n"
        f"while not Path({str(tmp_path / 'end')!r}).exists(): time.sleep(0.05)\n"
    )
    job = make_job(str(script), stall_s="auto", heartbeat_s=30.0)
    agent = job.agent()
    job.wait_for_record()
    eventually(lambda: job.node()["phase"] == "compiling the data helper", "the phase")
    assert job.node()["phase_since"] <= time.time()
    (tmp_path / "go").touch()
    eventually(lambda: job.node()["phase"] is None, "its end")
    (tmp_path / "end").touch()
    assert agent.wait(LIMIT_S) == 0, agent.communicate()[1]
    told = [(entry["by"], entry["phase"]) for entry in job.lines("phases.jsonl")]
    assert told == [("agent", "starting the ranks"), ("rank", "compiling the data helper")]
    assert all(entry["since"] <= entry["until"] <= time.time() for entry in job.lines("phases.jsonl"))


def test_a_stopped_training_is_found_by_default(
    make_job: MakeJob,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The real agent, with its numbers made small by the interpreter that starts it."""
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick" / "sitecustomize.py").write_text(
        f"import sys; sys.path.append({str(ROOT / 'recipes')!r})\n"
        "from node_agent_lib import auto_stall\n"
        "auto_stall.LEAST_S = auto_stall.LONG_S = 3.0\n"
    )
    job = make_job("hangs.py", tmp_path, 6, "stops", stall_s="auto")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(tmp_path / "quick")
    try:
        agent = job.agent()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    assert agent.wait(LIMIT_S) == 124, agent.communicate()[1]
    assert job.exit["error"].startswith("hung: no step for ")
    assert job.exit["error"].endswith("; rank 0 is stopped by a signal (SIGSTOP)")


def test_without_the_variable_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCH_PHASE_FILE", raising=False)

    class Recipe:
        def save_checkpoint(self) -> int:
            return 7

    recipe = Recipe()
    phase.tell_of(recipe)
    assert "save_checkpoint" not in vars(recipe)


def test_a_recipe_tells_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCH_PHASE_FILE", phases.path(str(tmp_path)))
    told: list[str | None] = []

    def now() -> None:
        found = phases.read(str(tmp_path))
        assert found is not None
        told.append(found.text)

    class Recipe:
        def save_checkpoint(self, step: int) -> int:
            now()
            return step

        def log_train_metrics(self, data: object) -> None:
            now()

    recipe = Recipe()
    phase.enter(None)
    phase.tell_of(recipe)
    phase.enter(phase.FIRST_STEP)
    recipe.log_train_metrics({})
    assert recipe.save_checkpoint(7) == 7
    now()
    assert told == [phase.FIRST_STEP, "saving a checkpoint", None]


# a half-written index


def test_a_truncated_index_is_built_again_and_none_is_left_by_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy

    monkeypatch.setenv("LAUNCH_RUN_DIR", str(tmp_path))
    index = tmp_path / "index"
    index.mkdir()
    half, whole = index / "half.npy", index / "whole.npy"
    for path in (half, whole):
        numpy.save(path, numpy.arange(1000))
    half.write_bytes(half.read_bytes()[:4000])
    with pytest.raises(ValueError, match="mmap length"):  # why: this ends every later start of the run
        numpy.load(half, mmap_mode="r")
    index_files.remove_truncated(index)
    assert sorted(path.name for path in index.iterdir()) == ["whole.npy"]
    program = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
        "import numpy; from pretrain_lib import index_files\n"
        "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with index_files.saved_whole(): numpy.save(sys.argv[2], numpy.arange(1000))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(ROOT / "recipes"), str(half)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not half.exists()
    with index_files.saved_whole():
        numpy.save(half, numpy.arange(3))
    assert numpy.load(half).tolist() == [0, 1, 2]


def test_another_jobs_index_may_be_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCH_RUN_DIR", str(tmp_path / "run"))
    (tmp_path / "half.npy").write_bytes(b"\x93NUMPY")
    index_files.remove_truncated(tmp_path)
    assert (tmp_path / "half.npy").exists()
    os.utime(tmp_path / "half.npy", (1, 1))
    index_files.remove_truncated(tmp_path)
    assert not (tmp_path / "half.npy").exists()
