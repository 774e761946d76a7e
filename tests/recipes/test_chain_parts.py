"""Further attempts: what decides about them, and what `begin` and `finish` ask of Slurm (fakes of its commands)."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import backends, bad_nodes, chain, history, metrics, records, stops, verdict
from node_agent_lib.decision import Limits, attempts_without_progress, decide
from node_agent_lib.history import Ended
from node_agent_lib.limits import TimeLimit
from node_agent_lib.stall import Progress

from tests.recipes.chain_site import LIMITS, Site, exported

ANY = Limits(None, 3)
AUTOMODEL = backends.get("automodel")


def ended(attempt: int, state: str = "FAILED", code: int = 1, **more: Any) -> Ended:
    return Ended(attempt, state, code, **{"error": f"error {attempt}", "to_step": 10 + attempt, **more})


# The decision


@pytest.mark.parametrize(
    ("last", "finished", "stopped", "words"),
    [
        (ended(0), True, None, "the run is finished"),
        (ended(0, "TIMEOUT"), False, "/r/stop", "/r/stop"),
        (ended(0, "COMPLETED", 0), False, None, "completed"),
        (ended(0, "CANCELLED", 143), False, None, "cancelled"),
        (ended(0, code=2, to_step=None), False, None, "configuration cannot be used: error 0"),
        (ended(0, code=3, to_step=None), False, None, "no checkpoint is complete"),
        (ended(0, error="the loss is not a number: 3 steps in a row, the last one 7"), False, None, "3 steps in a row"),
        (ended(0, error="ModuleNotFoundError: No module named 'x'", to_step=None), False, None, "cannot be imported"),
    ],
)
def test_one_attempt_is_enough_to_stop(last: Ended, finished: bool, stopped: str | None, words: str) -> None:
    decision = decide([last], ANY, finished, stopped)
    assert not decision.goes_on
    assert words in decision.why


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_anything_else_goes_on(state: str) -> None:
    decision = decide([ended(0, state)], ANY, False, None)
    assert decision.goes_on
    assert decision.why


def test_a_code_of_2_after_steps_is_no_configuration_error() -> None:
    assert decide([ended(0, code=2)], ANY, False, None).goes_on


def test_the_same_error_twice() -> None:
    one = ended(0, error="RuntimeError: at 0x7f12, port 4711, after 1.5 s", to_step=3, checkpoint=2)
    same = ended(1, error="RuntimeError: at 0x99ab, port 1234, after 20.1 s", to_step=3, checkpoint=4)
    assert "failed twice in the same way at step 3" in decide([one, same], ANY, False, None).why
    for other in (
        ended(1, error="RuntimeError: another one", to_step=3, checkpoint=4),
        ended(1, error=same.error, to_step=8, checkpoint=4),
        ended(1, "NODE_FAIL", error=same.error, to_step=3, checkpoint=4),
    ):
        assert decide([one, other], ANY, False, None).goes_on


def test_attempts_without_a_new_checkpoint_are_counted() -> None:
    saved = [ended(i, "TIMEOUT", checkpoint=10 * i) for i in range(20)]
    assert attempts_without_progress(saved) == 0
    assert decide(saved, ANY, False, None).goes_on
    idle = [*saved, *(ended(20 + i, "NODE_FAIL", checkpoint=190) for i in range(3))]
    assert decide(idle[:-1], ANY, False, None).goes_on
    assert "3 attempts in a row" in decide(idle, ANY, False, None).why
    assert attempts_without_progress([ended(0), ended(1, checkpoint=0)]) == 0


def test_a_number_of_attempts() -> None:
    tries = [ended(i, "TIMEOUT", checkpoint=i) for i in range(4)]
    assert decide(tries[:3], Limits(4, 3), False, None).goes_on
    assert "chain = 4" in decide(tries, Limits(4, 3), False, None).why


# Files


def test_history_of_a_job(tmp_path: Path) -> None:
    run = str(tmp_path)
    history.add(run, "begun", "a.1", 0, nodes=["c1"], checkpoint=None)
    history.add(run, "ended", "a.1", 0, state="CANCELLED", code=143)
    history.add(run, "ended", "a.2", 0, state="FAILED", code=1)
    history.add(run, "ended", "a.1", 0, state="PREEMPTED", code=143, to_step=7, save_s=2)  # Slurm's later word
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"event": "ended", "job_id": "a.1", "att')  # the disk was full
    assert history.ends(history.read(run), "a.1") == [Ended(0, "PREEMPTED", 143, to_step=7, save_s=2.0)]
    assert history.began(history.read(run), "a.1") is not None
    assert history.read(str(tmp_path / "nowhere")) == []


WRONG: tuple[Any, ...] = (None, True, -1, 1e308, 10**400, float("nan"), "", "x", [], {})


def test_a_damaged_history_ends_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, {**LIMITS, "gpu_hours": 100.0, "gpus": 8})
    site.call("begin", "76")
    site.fail(0)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    orders, nodes = chain.order(str(site.job)), records.read_nodes(str(site.job))
    assert orders is not None
    result = json.loads((site.job / "exit.json").read_text())
    file = site.run / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [{"time": 2e9, "step": 5, "loss": 2.5, key: wrong} for key in ("time", "step") for wrong in WRONG]
    (site.job / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number, line in enumerate(lines):
        for key in line:
            for wrong in WRONG:
                damaged = [*lines[:number], {**line, key: wrong}, *lines[number + 1 :]]
                file.write_text("".join(json.dumps(one) + "\n" for one in damaged))
                end = chain.describe(orders, 0, result, nodes, None)
                assert chain.judge(orders, end, nodes) is not None, (key, wrong)


def test_an_attempt_that_a_person_resumed_starts_the_count_again(tmp_path: Path) -> None:
    for event, attempt in (("ended", 0), ("ended", 1), ("resumed", 1), ("ended", 2)):
        history.add(str(tmp_path), event, "a.1", attempt, state="FAILED", code=1)
    assert [end.attempt for end in history.ends(history.read(str(tmp_path)), "a.1")] == [2]


def test_the_newest_checkpoint_is_not_one_that_is_being_saved(tmp_path: Path) -> None:
    for name in ("epoch_0_step_9", "epoch_1_step_19", "epoch_1_step_29", "epoch_1_step_39.damaged", "LATEST"):
        (tmp_path / name).mkdir()
    (tmp_path / "epoch_1_step_29" / ".incomplete").touch()
    assert backends.newest_checkpoint(AUTOMODEL, str(tmp_path)) == 19
    assert backends.newest_checkpoint(AUTOMODEL, str(tmp_path / "none")) is None
    assert backends.newest_checkpoint(AUTOMODEL, None) is None


def test_bad_nodes_are_forgotten_and_forgiven(tmp_path: Path) -> None:
    root = str(tmp_path)
    bad_nodes.add(root, ["c1", "c2", "c3"], "lost", "a.1")
    lines = (tmp_path / "bad-nodes.jsonl").read_text().splitlines()
    old = {**json.loads(lines[1]), "time": time.time() - 25 * 3600}
    forgiven = {"time": time.time(), "node": "c3", "forgiven": True}
    (tmp_path / "bad-nodes.jsonl").write_text("\n".join([lines[0], json.dumps(old), lines[2], json.dumps(forgiven)]))
    assert bad_nodes.names(root) == ["c1"]
    with (tmp_path / "bad-nodes.jsonl").open("a") as file:
        file.write("".join(f"\n{json.dumps({'node': 'c4', 'time': wrong})}" for wrong in WRONG))
    assert bad_nodes.names(root) == ["c1"]


@pytest.mark.parametrize(
    ("error", "guilty"),
    [
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", True),
        ("RuntimeError: No CUDA GPUs are available", True),
        ("NCCL WARN NET/IB: Got completion with error 12, transport retry counter exceeded", True),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", False),
        ("RuntimeError: CUDA error: device-side assert triggered", False),
        ("ValueError: no more data", False),
    ],
)
def test_which_errors_accuse_a_node(error: str, guilty: bool) -> None:
    assert bad_nodes.accused(error) is guilty


def test_metrics_that_a_killed_agent_had_not_read(tmp_path: Path) -> None:
    log, target = tmp_path / "rank-0.log", tmp_path / "metrics.jsonl"
    line = "step {} | epoch 0 | loss {} | lr 1e-3\n"
    log.write_text("".join(line.format(step, 9 - step) for step in range(4)))
    target.write_text("".join(json.dumps(AUTOMODEL.parse_metrics(line.format(s, 9 - s), 5.0)) + "\n" for s in range(2)))
    assert [found["step"] for found in metrics.missed(AUTOMODEL, str(log), str(target))] == [2, 3]
    target.unlink()
    assert metrics.missed(AUTOMODEL, str(log), str(target)) == []


def test_a_run_that_another_job_trains_is_no_failure_to_try_again() -> None:
    error = "the run is in use by job b.1 (lock /r/lock)"
    decision = decide([ended(0, error=error, to_step=None)], ANY, False, None)
    assert (decision.goes_on, decision.why) == (False, error)
    own = "an earlier attempt of this job still holds the run (lock /r/lock)"  # on a node that Slurm has lost
    assert decide([ended(0, error=own, to_step=None)], ANY, False, None).goes_on


# The time limit


def test_the_ranks_are_told_before_the_time_is_over() -> None:
    clock = Clock()
    limit = clock.limit({"LAUNCH_END_MONOTONIC": "here:10000"})
    clock.uptime = 9879.0
    assert not limit.is_near(Progress())
    clock.uptime = 9880.0
    assert limit.is_near(Progress())  # stop_grace, while no save was seen
    assert limit.lead_s(Progress(save_s=200.0)) == 415.0
    assert Clock().limit(limit_of(10000) | {"LAUNCH_SAVE_S": "300.0"}).lead_s(Progress(save_s=200.0)) == 615.0
    assert Clock(uptime=9940.0).limit(limit_of(10000)).lead_s(None) == 15.0  # a quarter of a minute
    assert not Clock(uptime=1e12).limit({}).is_near(None)
    assert not Clock().limit({"LAUNCH_END_MONOTONIC": "here:soon"}).is_near(None)


@dataclass
class Clock:
    """A machine's two clocks, and which machine it is."""

    uptime: float = 0.0
    time_of_day: float = 1_800_000_000.0

    def limit(self, environ: dict[str, str]) -> TimeLimit:
        return TimeLimit(environ, 120.0, lambda: self.uptime, lambda: self.time_of_day, "here")


def limit_of(uptime: float) -> dict[str, str]:
    return {"LAUNCH_END_MONOTONIC": f"here:{uptime}"}


@pytest.mark.parametrize("whose", ["here", "elsewhere"])  # the batch script's machine, and another one
def test_a_clock_that_is_set_does_not_move_the_time_limit(whose: str) -> None:
    clock = Clock()
    limit = clock.limit({"LAUNCH_END_MONOTONIC": f"{whose}:3600", "LAUNCH_END_TIME": "1800003600"})
    clock.time_of_day += 3600
    clock.uptime = 3000.0
    assert not limit.is_near(None)
    clock.time_of_day -= 7200
    clock.uptime = 3500.0
    assert limit.is_near(None)


def test_a_job_that_was_submitted_before_goes_by_the_time_of_day() -> None:
    clock = Clock()
    limit = clock.limit({"LAUNCH_END_TIME": "1800003600"})
    clock.uptime = 3479.0
    assert not limit.is_near(None)
    clock.uptime = 3480.0
    assert limit.is_near(None)


# The stop file


def test_a_stop_file_is_a_cancelled_job(tmp_path: Path) -> None:
    job, run = tmp_path / "a.1", tmp_path / "a"
    job.mkdir()
    run.mkdir()
    (job / "agent.json").write_text(json.dumps({"run_dir": str(run)}))
    assert stops.asked(str(job)) is None
    (run / "stop").touch()
    asked = stops.asked(str(job))
    told = verdict.judge([], 2, 1, asked)  # no agent was there to notice
    assert (told["state"], told["code"]) == ("CANCELLED", 143)
    assert str(run / "stop") in told["error"]
    (job / "stop").touch()
    assert stops.path_of(str(job), str(run)) == str(run / "stop")


# begin and finish


def test_begin_queues_the_next_attempt(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    done = site.call("begin", "76", SBATCH_PARTITION="x", SLURM_NTASKS="4")
    told = exported(done)
    assert told["LAUNCH_ATTEMPT"] == "0"
    assert float(told["LAUNCH_END_TIME"]) == pytest.approx(time.time() + 500, abs=60)
    assert (site.job / "chain").read_text() == "76 77 0 78\n"
    submitted = [call.split() for call in site.calls if call.startswith("sbatch")]
    for words, dependency in zip(submitted, ("afterany:76", "afterany:76:77"), strict=True):
        for word in (f"--dependency={dependency}", "--kill-on-invalid-dep=yes", "--no-requeue", "--exclude=c9"):
            assert word in words


@pytest.mark.parametrize("here", [True, False])
def test_a_next_attempt_that_went_to_another_cluster_is_cancelled_there(tmp_path: Path, here: bool) -> None:
    """A site's own sbatch may name a cluster: this one, or one where nobody would see the job."""
    site = Site(tmp_path, LIMITS)
    site.says("sbatch", "echo '77;other'")
    if not here:
        site.says("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    done = site.call("begin", "76")
    assert exported(done)["LAUNCH_ATTEMPT"] == "0"
    assert ("scancel -M other 77" in site.calls, "another cluster" in done.stderr) == (not here, not here)
    assert (site.job / "chain").read_text() == ("76 77 0 77\n" if here else "76 - 0\n")


def test_a_job_that_is_no_chain_queues_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, None)
    assert "export LAUNCH_ATTEMPT=0" in site.call("begin", "76").stdout
    site.fail(0)
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == 1
    assert not [call for call in site.calls if call.startswith("sbatch")]
    assert "goes_on" not in json.loads((site.job / "exit.json").read_text())


def test_finish_leaves_the_next_attempt_where_the_job_goes_on(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.fail(0)
    done = site.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert done.returncode == 1
    assert "another attempt follows: it failed: boom" in done.stderr
    told = json.loads((site.job / "exit.json").read_text())
    assert (told["state"], told["goes_on"]) == ("FAILED", True)
    assert (site.job / "chain").read_text() == "76 77 0 78\n"
    assert "export LAUNCH_ATTEMPT=1" in site.call("begin", "77").stdout
    assert (site.job / "chain").read_text() == "77 78 1 79\n"
    assert not (site.job / "exit.json").exists()
    assert (site.job / "exit-0.json").exists()


def test_the_second_failure_of_its_kind_cancels_the_next_attempt(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    for attempt, slurm_id in enumerate(("76", "77")):
        site.call("begin", slurm_id)
        site.fail(attempt)
        done = site.call("finish", slurm_id, LAUNCH_ATTEMPT=str(attempt))
    assert "no further attempt: it failed twice in the same way" in done.stderr
    assert site.calls[-1] == "scancel --state=PENDING 79 78"
    assert (site.job / "chain").read_text() == "77 - 1\n"
    site.resume("90")  # by a person: what was before no longer counts
    assert "export LAUNCH_ATTEMPT=2" in site.call("begin", "90").stdout
    site.fail(2)
    assert "another attempt follows" in site.call("finish", "90", LAUNCH_ATTEMPT="2").stderr


def test_the_first_step_of_a_long_attempt_is_its_first(tmp_path: Path) -> None:
    """20,000 steps are 2 MB of metrics."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    line = '{{"time": {}, "step": {}, "loss": 2.5, "lr": 0.001, "grad_norm": 1.25, "note": "as in a log"}}\n'
    steps = [line.format(1.0, 6), *(line.format(2e9, step) for step in range(7, 20_007))]
    (site.job / "metrics.jsonl").write_text("".join(steps))
    site.fail(0)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    (end,) = [e for e in history.read(str(site.run)) if e["event"] == "ended"]
    assert (end["from_step"], end["to_step"]) == (7, 20_006)


def test_a_pause_is_no_mere_stop(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    for folder in (site.run, site.job):
        (folder / "stop").write_text("x")
    site.node(0, state="ended", stop={"signal": "SIGTERM", "number": 15, "time": 1.0, "reason": str(site.run / "stop")})
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    told = json.loads((site.job / "exit.json").read_text())
    assert (told["state"], told["goes_on"], told["error"]) == ("CANCELLED", False, f"stopped: {site.run}/stop")
    assert told["why"] == f"its run was paused: {site.run}/stop"


def test_a_lost_node_is_closed_by_the_next_attempt(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.node(0, state="running", step=12, first_step=3)
    site.says("scontrol", "echo JobId=76 JobState=NODE_FAIL")
    site.says("sinfo", "echo c1 down*")
    assert "export LAUNCH_ATTEMPT=1" in site.call("begin", "77").stdout
    (end,) = [e for e in history.read(str(site.run)) if e["event"] == "ended"]
    assert (end["state"], end["from_step"], end["to_step"]) == ("NODE_FAIL", 3, 12)
    assert bad_nodes.names(str(tmp_path / "jobs")) == ["c1"]
    assert "--exclude=c1,c9" in [call for call in site.calls if call.startswith("sbatch")][-1]


@pytest.mark.parametrize(("state", "goes_on"), [("CANCELLED", False), ("PREEMPTED", True), ("FAILED", True)])
def test_who_has_sent_the_signal(tmp_path: Path, state: str, goes_on: bool) -> None:
    """Only Slurm can tell a person's scancel from a preemption, and only once the job is over."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.node(0, stop={"signal": "SIGTERM", "number": 15, "time": 1.5, "reason": "signal"}, code=143)
    assert site.call("finish", "76", LAUNCH_ATTEMPT="0").returncode == 143
    assert (site.job / "chain").read_text() == "76 77 0 78\n"
    site.says("scontrol", f"echo JobId=76 JobState={state}")
    lines = site.call("begin", "77").stdout.splitlines()
    assert lines[0] == ("export LAUNCH_ATTEMPT=1" if goes_on else "trap - EXIT")
    assert ("exit 143" in lines) is not goes_on


def test_nodes_that_cannot_be_excluded(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.says(
        "sbatch", 'case "$*" in *--exclude*) echo "not available" >&2; exit 1;; *76:77*) echo 78;; *) echo 77;; esac'
    )
    site.call("begin", "76")
    assert (site.job / "chain").read_text() == "76 77 0 78\n"


def test_a_cluster_whose_nodes_may_not_submit(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.says("sbatch", 'echo "Access denied" >&2; exit 1')
    done = site.call("begin", "76")
    assert "export LAUNCH_ATTEMPT=0" in done.stdout
    assert "cannot be submitted: sbatch: Access denied" in done.stderr
    assert (site.job / "chain").read_text() == "76 - 0\n"


def test_two_jobs_never_run_one_attempt_at_once(tmp_path: Path) -> None:
    """A submission whose answer was lost, made again: two jobs wait for the same end."""
    site = Site(tmp_path, LIMITS)
    site.call("begin", "76")
    site.says("squeue", "echo RUNNING")
    done = site.call("begin", "99")
    assert done.stdout.splitlines() == ["trap - EXIT", "exit 0"]
    assert (site.job / "chain").read_text() == "76 77 0 78\n"


def test_an_attempt_that_was_given_up_writes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    chain.write(str(site.job), chain.Link("77", "78", 1))
    site.fail(0)
    done = site.call("finish", "76", LAUNCH_ATTEMPT="0")
    assert done.returncode == 1
    assert "a later attempt has begun" in done.stderr
    assert not (site.job / "exit.json").exists()


def test_a_begin_that_fails_lets_the_job_run(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    (site.job / "agent.json").write_text('{"chain": 5}')
    done = site.call("begin", "76")
    assert (done.returncode, done.stdout) == (0, "\n")
    assert "KeyError" in done.stderr


def test_a_begin_that_fails_later_still_counts(tmp_path: Path) -> None:
    """Else its agents would think that a later attempt has begun, and end."""
    site = Site(tmp_path, LIMITS)
    chain.write(str(site.job), chain.Link("76", "77", 4))
    (site.job / "agent.json").write_text('{"chain": 5}')
    assert site.call("begin", "77").stdout == "export LAUNCH_ATTEMPT=5\n"
    assert site.call("begin", "76").stdout == "export LAUNCH_ATTEMPT=4\n"
