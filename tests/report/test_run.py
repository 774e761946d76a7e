"""All attempts at a run joined, and its goodput, on the files of one that was killed, cancelled and finished."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.jobs.jobdir import WAITS_FOR_AGENT
from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import LOCAL, FileRead, LocalFileSystem
from automodel_launch.report import goodput, joining, reading
from automodel_launch.report.columns import Columns
from automodel_launch.report.intervals import Union

RECORDED = Path(__file__).parent / "recorded"


def record_of(root: Path, job_id: str) -> Record:
    """A record of that job, as far as a reader needs it."""
    run = job_id.partition(".")[0]
    words: dict[str, Any] = dict.fromkeys(("recipe", "config", "profile", "executor", "mode", "plan_hash"), "x")
    return Record(job_id, run, job_dir=f"{root}/{job_id}", run_dir=f"{root}/{run}", submitted=0.0, **words)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


def test_the_later_record_of_a_step_counts() -> None:
    joined = joining.join(reading.read(record_of(RECORDED, "demo.2"), LOCAL))
    logged = [*lines("demo.1/metrics.jsonl"), *lines("demo.2/metrics.jsonl")]
    last = {entry["step"]: entry for entry in logged if "loss" in entry}
    validated = {entry["step"]: entry["val_loss"] for entry in logged if "val_loss" in entry}
    rows = list(joining.rows(joined))
    assert len([entry for entry in logged if "loss" in entry]) > len(last)  # some were done twice
    assert [row["step"] for row in rows] == list(range(150))
    for row in rows:
        assert {key: row[key] for key in last[row["step"]]} == last[row["step"]]
        assert row.get("val_loss") == validated.get(row["step"])


def test_the_goodput_of_a_recorded_run_is_that_of_a_hand_computation() -> None:
    files = reading.read(record_of(RECORDED, "demo.2"), LOCAL)
    found = goodput.of(files, joining.join(files), now=0.0)
    attempts = [(1, 0, 70), (1, 60, 106), (2, 107, 149)]  # job, first and last step
    began, ended = ([e["time"] for e in lines("demo/history.jsonl") if e["event"] == w] for w in ("begun", "ended"))
    logs = {job: [e for e in lines(f"demo.{job}/metrics.jsonl") if "loss" in e] for job in (1, 2)}
    phases = [p for job in (1, 2) for p in lines(f"demo.{job}/phases.jsonl") if p["by"] == "rank"]
    first_ones = [e["time"] for e in logs[1][:71]]
    runs = [first_ones, [e["time"] for e in logs[1][71:]], [e["time"] for e in logs[2]]]
    assert [len(times) for times in runs] == [last - first + 1 for _, first, last in attempts]

    def told(name: str, start: float, end: float) -> float:
        return float(sum(p["until"] - p["since"] for p in phases if p["phase"] == name and start <= p["since"] < end))

    total = sum(end - start for start, end in zip(began, ended, strict=True))
    pauses = sum(told(name, began[0], ended[-1]) for name in ("validation", "saving a checkpoint"))
    usual = [statistics.median(b - a for a, b in itertools.pairwise(times)) for times in runs]
    startup = sum(times[0] - start - step for times, start, step in zip(runs, began, usual, strict=True))
    lost = first_ones[70] - first_ones[59] - told("validation", first_ones[59], first_ones[70])
    lost -= told("saving a checkpoint", first_ones[59], first_ones[70])
    after = [end - times[-1] for times, end in zip(runs, ended, strict=True)]
    late = sum(
        told(name, times[-1], end)
        for name in ("validation", "saving a checkpoint")
        for times, end in zip(runs, ended, strict=True)
    )
    hand = {"startup": startup, "lost_steps": lost, "idle": sum(after) - late}
    hand["steps"] = total - pauses - sum(hand.values())
    devices = 2
    assert found.hours() * 3600 / devices == pytest.approx(total, rel=1e-6)
    for part, seconds in hand.items():
        assert found.hours(part) * 3600 / devices == pytest.approx(seconds, abs=0.01 * total), part
    assert found.share == pytest.approx(hand["steps"] / total, rel=0.01)
    assert found.hours("validation") + found.hours("saving") == pytest.approx(pauses * devices / 3600, rel=0.01)
    assert sum(found.startup_hours().values()) == pytest.approx(found.hours("startup"))


def test_what_spare_nodes_have_waited_is_no_goodput() -> None:
    def account(**more: Any) -> goodput.Goodput:
        files = reading.read(record_of(RECORDED, "demo.2"), LOCAL)
        for job in files.jobs:
            job.plan["profile_values"] = {"gpus_per_node": 2}
        for row in files.attempts:
            row.update(slurm_id="7", nodes=["c1", "c2", "c3"], **more)
        return goodput.of(files, joining.join(files), now=0.0)

    nodes = account()
    for each in nodes.attempts:
        each.devices = 6
    spare = account(spares=["c4"])
    assert {each.devices for each in spare.attempts} == {8}
    assert spare.hours() == pytest.approx(nodes.hours() * 4 / 3)
    assert spare.hours("spare") == pytest.approx(nodes.hours() / 3)
    assert all(spare.hours(part) == pytest.approx(nodes.hours(part)) for part in goodput.PARTS if part != "spare")
    assert sum(spare.startup_hours().values()) == pytest.approx(spare.hours("startup"))


def test_a_run_without_anything_has_no_goodput(tmp_path: Path) -> None:
    files = reading.read(record_of(tmp_path, "none.1"), LOCAL)
    joined = joining.join(files)
    assert list(joining.rows(joined)) == []
    assert goodput.of(files, joined, 1.0).share is None


def test_what_was_no_number_is_none_and_what_was_whole_stays_whole() -> None:
    columns = Columns()
    columns.add({"step": 0, "loss": 1.5})
    columns.add({"step": 1, "loss": None, "nonfinite": True, "lr": 2, "name": "x"})
    assert columns.row(0) == {"step": 0, "loss": 1.5, "lr": None}
    assert columns.row(1) == {"step": 1, "loss": None, "lr": 2}


def test_intervals_that_overlap_count_once() -> None:
    union = Union([(0, 2), (1, 3), (5, 6), (7, 7)])
    assert union.parts == [(0, 3), (5, 6)]
    assert union.between(2, 5.5) == 1.5
    assert union.without(Union([(1, 2), (5, 9)])).parts == [(0, 1), (2, 3)]


class Counting(LocalFileSystem):
    """Each call would be a round trip over SSH."""

    calls: list[str]

    def __init__(self) -> None:
        object.__setattr__(self, "calls", [])

    def read_many(self, wanted: Sequence[tuple[str, int]]) -> list[FileRead]:
        self.calls.append("read")
        return super().read_many(wanted)

    def names(self, folder: str) -> list[str]:
        self.calls.append("names")
        return super().names(folder)


def test_a_run_of_many_jobs_costs_a_round_trip_more_for_each() -> None:
    """Of the metrics, which may be long; the other files of all jobs come together."""
    counts = []
    for job_id in ("demo.2", "demo.3"):  # the third has no directory
        place = Counting()
        reading.read(record_of(RECORDED, job_id), place)
        counts.append(len(place.calls))
    assert counts[1] - counts[0] == 1
    assert counts[0] <= 8


def test_a_checkpoint_is_complete_by_the_marks_of_its_own_framework(tmp_path: Path) -> None:
    for name, files in {
        "epoch_0_step_9": [],
        "epoch_0_step_19": [contract.INCOMPLETE],
        "iter_0000010": contract.MEGATRON_PARTS,
        "iter_0000020": [".metadata"],
    }.items():
        (tmp_path / "saved" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "saved" / name / file).touch()
    (tmp_path / "mine.1").mkdir()
    (tmp_path / "mine.1" / contract.AGENT).write_text(json.dumps({"checkpoint_dir": str(tmp_path / "saved")}))
    found = reading.read(record_of(tmp_path, "mine.1"), LOCAL).checkpoints
    complete = {checkpoint["name"]: checkpoint["complete"] for checkpoint in found}
    assert complete == {
        **{"epoch_0_step_9": True, "epoch_0_step_19": False},
        **{"iter_0000010": True, "iter_0000020": False},
    }


def test_what_is_read_twice_is_what_is_read_once(tmp_path: Path) -> None:
    shutil.copytree(RECORDED, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "demo.2" / contract.METRICS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # in the middle of a line
    record = record_of(tmp_path, "demo.2")
    half = reading.read(record, LOCAL)
    path.write_bytes(whole)
    again, once = reading.read(record, LOCAL, half), reading.read(record, LOCAL)
    assert half.jobs[1].steps.rows <= once.jobs[1].steps.rows
    assert list(joining.rows(joining.join(again))) == list(joining.rows(joining.join(once)))
    assert again.jobs[1].taken == once.jobs[1].taken == len(whole)
    path.write_bytes(b"x" * 100 + b"\n" + b"[1]\n{")
    assert reading.read(record, LOCAL).jobs[1].steps.rows == 0


def told(
    root: Path, history: list[dict[str, Any]], events: list[dict[str, Any]], times: list[float]
) -> goodput.Goodput:
    """The goodput of a job x.1 with two GPUs, of which these lines tell; a step was logged at each of the times."""
    for folder in ("x", "x.1"):
        (root / folder).mkdir()
    steps = [{"step": number, "time": time, "loss": 1.0} for number, time in enumerate(times)]
    files = {
        f"x/{contract.HISTORY}": [{"job_id": "x.1", "slurm_id": "7", **entry} for entry in history],
        f"x.1/{contract.EVENTS}": events,
        f"x.1/{contract.METRICS}": steps,
    }
    for name, rows in files.items():
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {"nodes": 1, "profile_values": {"gpus_per_node": 2}}
    (root / "x.1" / contract.PLAN).write_text(json.dumps(plan))
    read = reading.read(record_of(root, "x.1"), LOCAL)
    return goodput.of(read, joining.join(read), now=0.0)


def test_a_dead_node_costs_until_slurm_took_it_back_and_a_prolog_from_its_start(tmp_path: Path) -> None:
    """Nodes from 940 to 1300, by Slurm; the next attempt has them from 2000 on, and writes that the first has ended."""
    history = [
        {"event": "begun", "time": 1000.0, "attempt": 0, "allocated_s": 60.0},
        {"event": "ended", "time": 2005.0, "attempt": 0, "state": "NODE_FAIL", "goes_on": True, "allocated_s": 360.0},
        {"event": "begun", "time": 2005.0, "attempt": 1, "allocated_s": 5.0},
        {"event": "ended", "time": 2105.0, "attempt": 1, "state": "COMPLETED", "allocated_s": 105.0},
    ]
    events = [
        {"time": 930.0, "state": "submitted"},
        {"time": 1015.0, "state": "started", "attempt": 0},
        {"time": 2006.0, "state": "started", "attempt": 1},
    ]
    found = told(tmp_path, history, events, [1110.0, 1120.0, 1130.0, 2050.0, 2060.0])
    seconds = {part: hours * 3600 / 2 for part, hours in found.document()["parts"].items()}
    assert found.unit == "GPU" and found.hours() * 3600 / 2 == pytest.approx(360 + 105)
    assert seconds == pytest.approx(
        {
            **{"steps": 30 + 20, "lost_steps": 0, "validation": 0, "saving": 0, "work": 0, "outside": 0},
            "spare": 0,
            **{"startup": (1100 - 940) + (2040 - 2000), "idle": (1300 - 1130) + (2105 - 2060)},
        }
    )
    startup = {phase: hours * 3600 / 2 for phase, hours in found.startup_hours().items()}
    assert startup == pytest.approx({joining.BEFORE: 65, WAITS_FOR_AGENT: 16, goodput.UNTOLD: 85 + 34})
    assert found.queued_s == pytest.approx((940 - 930) + (2000 - 1300))


def test_the_pause_before_a_person_resumes_is_no_time_in_the_queue(tmp_path: Path) -> None:
    history = [
        {"event": "begun", "time": 1000.0, "attempt": 0},
        {"event": "ended", "time": 1100.0, "attempt": 0, "state": "CANCELLED", "goes_on": False},
        {"event": "begun", "time": 9000.0, "attempt": 1},
        {"event": "ended", "time": 9100.0, "attempt": 1, "state": "COMPLETED", "goes_on": False},
    ]
    assert told(tmp_path, history, [], [1050.0]).queued_s == 0


def test_a_job_whose_directory_is_gone_has_no_goodput(tmp_path: Path) -> None:
    begun = {"event": "begun", "time": 10.0, "attempt": 0}
    ended = {"event": "ended", "time": 70.0, "attempt": 0, "state": "COMPLETED", "to_step": 4}
    assert told(tmp_path, [begun, ended], [], []).share is None


def test_a_script_without_steps_has_no_goodput(tmp_path: Path) -> None:
    (tmp_path / "x.1").mkdir()
    (tmp_path / "x.1" / contract.AGENT).write_text(json.dumps({"backend": contract.DATA_PREP}))
    (tmp_path / "x").mkdir()
    lines = [{"event": "begun", "time": 10.0}, {"event": "ended", "time": 70.0, "state": "COMPLETED"}]
    text = "".join(json.dumps({"job_id": "x.1", "attempt": 0, **line}) + "\n" for line in lines)
    (tmp_path / "x" / contract.HISTORY).write_text(text)
    files = reading.read(record_of(tmp_path, "x.1"), LOCAL)
    found = goodput.of(files, joining.join(files), now=0.0)
    assert found.share is None and found.startup_hours() == {}
    assert found.hours("work") == found.hours() == pytest.approx(60 / 3600)
