"""How long an attempt may run: Slurm's time limit whatever a node's clock says, and max_gpu_hours."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import budget, history
from node_agent_lib.limits import TimeLimit

from tests.recipes.chain_site import LIMITS, Site, exported


@pytest.mark.parametrize("skew", [-7200, -60, 60, 7200])
def test_a_node_whose_clock_is_wrong_saves_at_the_same_time(tmp_path: Path, skew: int) -> None:
    """Slurm's own times and what the controller calls now, never this node's now."""
    site = Site(tmp_path, LIMITS)
    start = int(time.time()) + skew
    site.says("scontrol", f"echo JobId=76 JobState=RUNNING StartTime={start} EndTime={start + 600} RunTime=09:59:59")
    site.says("sdiag", f"echo 'sdiag output at then ({start + 100})'")
    before = time.monotonic()
    _, _, end = exported(site.call("begin", "76"))["LAUNCH_END_MONOTONIC"].partition(":")
    assert before + 499 <= float(end) <= time.monotonic() + 501


def test_a_cluster_that_does_not_tell_its_time(tmp_path: Path) -> None:
    """A node that is behind cannot think that it has more time than all of it."""
    site = Site(tmp_path, LIMITS)
    start = int(time.time()) + 7200
    site.says("scontrol", f"echo JobId=76 JobState=RUNNING StartTime={start} EndTime={start + 600}")
    site.says("sdiag", "echo 'Access/permission denied' >&2; exit 1")
    _, _, end = exported(site.call("begin", "76"))["LAUNCH_END_MONOTONIC"].partition(":")
    assert float(end) <= time.monotonic() + 601


def test_a_job_without_a_time_limit(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    site.says("scontrol", "echo JobId=76 JobState=RUNNING StartTime=1000000 EndTime=Unknown")
    assert exported(site.call("begin", "76")) == {"LAUNCH_ATTEMPT": "0"}


# max_gpu_hours

BUDGET = {**LIMITS, "max_gpu_hours": 10, "gpus": 4}
GPUS = {"SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_NUM_NODES": "2"}  # what Slurm has allocated counts


def runs(site: Site, seconds: int) -> None:
    """The Slurm job that asks has run for so long, with six hours of time."""
    site.says("scontrol", "echo JobState=RUNNING StartTime=1000000 EndTime=1021600")
    site.says("sdiag", f"echo 'sdiag output at then ({1000000 + seconds})'")


def test_the_attempt_ends_where_its_gpu_hours_do(tmp_path: Path) -> None:
    site = Site(tmp_path, BUDGET)
    runs(site, 60)
    told = exported(site.call("begin", "76", **GPUS))
    left = float(told["LAUNCH_END_MONOTONIC"].partition(":")[2]) - time.monotonic()
    assert left == pytest.approx(10 * 3600 / 16 - 60, abs=60)
    assert TimeLimit(told, 120.0).reason == "max_gpu_hours"
    assert TimeLimit({}, 120.0).reason == "time limit"


def test_the_time_limit_comes_first(tmp_path: Path) -> None:
    site = Site(tmp_path, {**BUDGET, "max_gpu_hours": 1000})
    runs(site, 60)
    assert "LAUNCH_END_OF_BUDGET" not in exported(site.call("begin", "76", **GPUS))


def test_a_chain_ends_when_its_gpu_hours_are_used_up(tmp_path: Path) -> None:
    """Two attempts of 900 s with 16 GPUs are 8 of 10 GPU-hours; the third is given 450 s, and takes 449."""
    site = Site(tmp_path, BUDGET)
    for attempt, (slurm_id, ran) in enumerate((("76", 900), ("77", 900), ("78", 449))):
        runs(site, 0)
        told = exported(site.call("begin", slurm_id, **GPUS))
        assert told["LAUNCH_ATTEMPT"] == str(attempt)
        runs(site, ran)
        site.fail(attempt, f"boom {'x' * attempt}")
        done = site.call("finish", slurm_id, LAUNCH_ATTEMPT=str(attempt))
    words = "its GPU-hours are used up: 10 of 10 (max_gpu_hours = 10)"
    assert words in done.stderr
    assert "not 5 minutes of 16 GPUs" in done.stderr
    ends = [e for e in history.read(str(site.run)) if e["event"] == "ended"]
    assert [e["gpu_hours"] for e in ends] == [4.0, 4.0, pytest.approx(1.9956, abs=1e-4)]
    assert [e["goes_on"] for e in ends] == [True, True, False]
    assert site.calls[-1].startswith("scancel")
    site.resume("90")  # no word of a person's makes more of them
    refused = site.call("begin", "90", **GPUS)
    assert "exit 1" in refused.stdout and words in refused.stderr


def test_an_attempt_that_saved_because_of_its_gpu_hours_is_the_last(tmp_path: Path) -> None:
    """Its save took less time than was kept for it: what is left is not worth a start."""
    site = Site(tmp_path, BUDGET)
    runs(site, 0)
    site.call("begin", "76", **GPUS)
    runs(site, 1200)
    stop = {"signal": "SIGTERM", "number": 15, "time": 1.5, "reason": "max_gpu_hours"}
    site.node(0, stop=stop, code=143)
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    told = json.loads((site.job / "exit.json").read_text())
    assert (told["state"], told["code"], told["goes_on"]) == ("TIMEOUT", 143, False)
    assert "max_gpu_hours" in told["error"] and "max_gpu_hours): 5.33 of 10" in told["why"]


@pytest.mark.parametrize(
    ("shown", "hours"), [("JobState=NODE_FAIL StartTime=1000000 EndTime=1003600", 16.0), ("", 8.0)]
)
def test_gpu_hours_of_an_attempt_that_could_not_count_them(tmp_path: Path, shown: str, hours: float) -> None:
    """Slurm knows, else its beginning and the last heartbeat of its nodes tell."""
    site = Site(tmp_path, {**BUDGET, "max_gpu_hours": 100})
    runs(site, 0)
    site.call("begin", "76", **GPUS)
    (begun,) = history.read(str(site.run))
    site.node(0, state="running", time=begun["time"] + 1800)
    site.says("scontrol", f"echo {shown}" if shown else "echo 'Invalid job id specified' >&2; exit 1")
    site.call("begin", "77", **GPUS)
    (end,) = [e for e in history.read(str(site.run)) if e["event"] == "ended"]
    assert end["gpu_hours"] == pytest.approx(hours)
    assert end["allocated_s"] == pytest.approx(hours * 3600 / 16)


def test_an_attempt_knows_for_how_long_it_had_its_nodes_and_asks_nobody_at_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    runs(site, 90)  # a prolog, say
    site.call("begin", "76")
    asked = len(site.calls)
    site.fail(0, "boom")
    site.says("scontrol", "exit 1")
    site.call("finish", "76", LAUNCH_ATTEMPT="0")
    begun, end = history.read(str(site.run))
    assert begun["allocated_s"] == 90.0
    assert end["allocated_s"] == pytest.approx(90.0 + end["time"] - begun["time"], abs=1.0)
    assert not [call for call in site.calls[asked:] if "show job" in call]


def test_planned_gpus_count_where_slurm_does_not_tell() -> None:
    assert budget.gpus({}, 4) == 4
    assert budget.gpus(GPUS, 4) == 16
