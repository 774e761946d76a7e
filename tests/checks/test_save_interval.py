"""The interval of checkpoints that loses least, by published numbers and by hand; and when nobody is told of it."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.checks import save_interval
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.remote.probes import Result, Results
from automodel_launch.report import cadence, measured
from automodel_launch.report.measured import Measured
from tests.report.test_run import RECORDED
from tests.workbench import Bench, make_bench

HOUR = 3600.0
CONFIG = """
step_scheduler: {{max_steps: {steps}, ckpt_every_steps: {every}, global_batch_size: 4096, local_batch_size: 1}}
checkpoint: {{checkpoint_dir: '${{run.dir}}/checkpoints'}}
"""
PROFILE = """
[big]
executor = "slurm"
nodes = {nodes}
gpus_per_node = 8
container_image = "none"
remote_job_dir = "{root}"
"""


@pytest.mark.parametrize(("mtbf_h", "minutes"), [(24, 117), (6, 57), (0.25, 9.1)])
def test_the_interval_is_the_one_that_daly_has_published(mtbf_h: float, minutes: float) -> None:
    """Figures 3 to 5 of the paper: saves of 5 minutes."""
    assert cadence.best(300, mtbf_h * HOUR) / 60 == pytest.approx(minutes, rel=0.006)


def test_the_best_interval_wastes_least() -> None:
    for save, restart, mtbf in ((30, 60, 8 * HOUR), (300, 600, HOUR), (2, 5, 100 * HOUR)):
        best = cadence.best(save, mtbf)
        least = cadence.wasted(best, save, restart, mtbf)
        assert all(cadence.wasted(best * factor, save, restart, mtbf) > least for factor in (0.7, 1.4))
        young = save / best + best / (2 * mtbf) + restart / mtbf  # to the first order
        assert least == pytest.approx(young, rel=0.25)
    assert cadence.wasted(1e9, 60, 60, HOUR) == 1.0


def test_what_is_wasted_is_what_a_run_with_failures_by_chance_wastes() -> None:
    chance, interval, save, restart, mtbf = random.Random(7), 900.0, 60.0, 120.0, 2 * HOUR
    clock, kept, fails = 0.0, 0.0, chance.expovariate(1 / mtbf)
    while kept < 3e7:
        while clock + restart > fails:  # a restart may fail, too
            clock, fails = fails, fails + chance.expovariate(1 / mtbf)
        clock += restart
        while clock + interval + save <= fails:
            clock, kept = clock + interval + save, kept + interval
        clock, fails = fails, fails + chance.expovariate(1 / mtbf)
    assert 1 - kept / clock == pytest.approx(cadence.wasted(interval, save, restart, mtbf), abs=0.01)


def test_a_runs_own_history_outweighs_what_is_usual() -> None:
    assert cadence.mtbf(1024, 0, 0) == pytest.approx(7.9 * HOUR)
    assert cadence.mtbf(16, 0, 0) == pytest.approx(64 * 7.9 * HOUR)
    assert cadence.mtbf(1024, 9, 92.1 * HOUR) == pytest.approx(10 * HOUR)  # (7.9 + 92.1) / 10
    assert cadence.mtbf(1024, 0, 71.1 * HOUR) == pytest.approx(79 * HOUR)  # never yet


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def plan(bench: Bench, every: int, steps: int = 100_000, nodes: int = 256) -> Plan:
    bench.env(PROFILE.format(nodes=nodes, root=bench.root / "jobs"))
    text = CONFIG.format(steps=steps, every=every)
    return bench.planned(text, profile="big", environ={}, offline=True)


MEASURED = Measured(step_s=2.0, save_s=60.0, restart_s=300.0, trained_s=0.0, failures=0, step=1000)


def test_an_interval_that_wastes_much_is_a_note_with_the_best_one(bench: Bench) -> None:
    found = list(save_interval.findings(plan(bench, 50), MEASURED))
    mtbf = 7.9 * HOUR / 2  # 2,048 GPUs
    best = round(cadence.best(60, mtbf) / 2.0, -1)
    assert best == pytest.approx((math.sqrt(2 * 60 * mtbf) - 60) / 2.0, rel=0.05)  # 620 steps, by hand
    (interval, background) = found
    assert (interval.level, interval.code) == ("note", "save-interval")
    assert interval.fix == f"step_scheduler.ckpt_every_steps={best:.0f}"
    by_hand = (
        60 / 160 + 100 / 160 * (80 + 300) / mtbf
    )  # saves; and of the rest half an interval and a restart a failure
    now, then = (int(word.strip("%,")) for word in interval.message.split() if word.endswith("%"))
    assert now == pytest.approx(by_hand * 100, abs=1)
    assert then == pytest.approx(11, abs=1)
    assert "ckpt_every_steps = 50 (stub/t.yaml" in interval.message
    assert background.code == "async-save" and background.fix == "+checkpoint.is_async=true"


@pytest.mark.parametrize(
    ("every", "steps", "nodes", "known"),
    [
        (600, 100_000, 256, Measured(2.0, 2.0, 300.0, 0.0, 0, 1000)),  # the curve is flat
        (100, 100_000, 256, Measured(2.0, 2.0, 300.0, 0.0, 0, 1000)),  # 1 % in saves
        (50, 1_050, 256, MEASURED),  # soon over
        (5, 150, 1, Measured(0.3, 1.5, 15.0, 100.0, 2, 20)),  # a tiny run
        (
            2500,
            100_000,
            256,
            Measured(2.0, 10.0, 300.0, 0.0, 0, 1000),
        ),  # too rare, if failures are as often as some had
        (50, 100_000, 256, None),  # nothing was measured
    ],
    ids=["near-the-best", "cheap-saves", "soon-over", "tiny", "not-sure", "not-measured"],
)
def test_nobody_is_told_of_what_is_not_worth_it(
    bench: Bench, every: int, steps: int, nodes: int, known: Measured | None
) -> None:
    assert list(save_interval.findings(plan(bench, every, steps, nodes), known)) == []


def test_many_failures_of_its_own_make_a_rare_checkpoint_a_note(bench: Bench) -> None:
    known = Measured(2.0, 10.0, 300.0, 40 * HOUR, 20, 1000)
    found, _ = save_interval.findings(plan(bench, 2500), known)
    assert found.code == "save-interval" and "(20 so far)" in found.message
    mtbf = (7.9 / 2 + 40) / 21 * HOUR
    assert found.fix == f"step_scheduler.ckpt_every_steps={round(cadence.best(10, mtbf) / 2, -1):.0f}"


def test_a_run_that_saves_in_the_background_is_left_alone(bench: Bench) -> None:
    bench.env(PROFILE.format(nodes=256, root=bench.root / "jobs"))
    text = CONFIG.format(steps=100_000, every=50).replace("checkpoints'}", "checkpoints', is_async: true}")
    assert not save_interval.asked(bench.planned(text, profile="big", environ={}, offline=True))


def printed(run_dir: Path) -> Measured | None:
    """What the script for a cluster finds out."""
    done = subprocess.run(["bash", "-c", measured.question(str(run_dir))], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return measured.answered(done.stdout)


def test_a_recorded_run_is_measured_here_and_by_the_script_alike() -> None:
    os.utime(RECORDED / "demo.2" / contract.METRICS)  # the newest, as git does not say
    known = measured.here(str(RECORDED / "demo"), LOCAL)
    assert known == printed(RECORDED / "demo")
    assert known is not None
    rows = [json.loads(line) for line in (RECORDED / "demo.2" / contract.METRICS).read_text().splitlines()]
    assert (known.step, known.failures) == (149, 1)
    times = [row["time"] for row in rows if "loss" in row]
    assert known.step_s == pytest.approx((times[-1] - times[0]) / (len(times) - 1), rel=0.5)
    assert 0.1 < known.save_s < 3
    history = [json.loads(line) for line in (RECORDED / "demo" / contract.HISTORY).read_text().splitlines()]
    assert known.restart_s == pytest.approx(times[0] - history[4]["time"], abs=0.1)
    assert known.trained_s == pytest.approx(
        sum(b["time"] - a["time"] for a, b in zip(history[::2], history[1::2], strict=True))
    )


@pytest.mark.parametrize("name", ["none", "it's $(touch x) `y`"])
def test_a_run_that_has_measured_nothing(tmp_path: Path, name: str) -> None:
    assert measured.here(str(tmp_path / name), LOCAL) is None
    assert printed(tmp_path / name) is None
    (tmp_path / name).mkdir()
    (tmp_path / name / contract.HISTORY).write_text('{"event": "begun"}\nnonsense\n[1]\n')
    assert measured.here(str(tmp_path / name), LOCAL) is None
    assert printed(tmp_path / name) is None


@pytest.mark.parametrize("wrong", [None, [], {}, "x", -1, 1e308, True])
def test_records_that_anybody_may_have_written(wrong: Any, tmp_path: Path) -> None:
    keys = ("step", "time", "attempt", "since", "until", "phase", "state", "to_step", "allocated_s", "event", "job_id")
    for key in keys:
        (tmp_path / "r").mkdir(exist_ok=True)
        (tmp_path / "r.1").mkdir(exist_ok=True)
        for name in ("demo/history.jsonl", "demo.2/metrics.jsonl", "demo.2/phases.jsonl", "demo.2/events.jsonl"):
            lines = [json.loads(line) for line in (RECORDED / name).read_text().replace("demo.2", "r.1").splitlines()]
            target = tmp_path / name.replace("demo.2", "r.1").replace("demo", "r")
            target.write_text(
                "".join(json.dumps({**line, **({key: wrong} if key in line else {})}) + "\n" for line in lines)
            )
        known = measured.here(str(tmp_path / "r"), LOCAL)
        assert known is None or math.isfinite(cadence.mtbf(8, known.failures, known.trained_s))


def test_a_cluster_is_asked_where_only_it_sees_the_run(bench: Bench) -> None:
    made = plan(bench, 50)
    assert save_interval.asked(made) == {}
    text = measured.question(str(RECORDED / "demo"))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    answers = Results({"measured": Result(0, done.stdout)}, 0.0)
    assert list(save_interval.answered(made, answers)) == []
