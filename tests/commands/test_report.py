"""`metrics` and `report`: the numbers of a run as a table, as CSV, as JSON and as a page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.commands import one_job, report
from automodel_launch.errors import ClusterError
from automodel_launch.jobs import pipelines, records, sweeps
from automodel_launch.jobs.pipelines import Pipeline, PipelineStep
from automodel_launch.jobs.records import Status
from automodel_launch.launch.pace import Pace
from automodel_launch.report import reading
from tests.commands.conftest import Cli

ROWS = [
    {"time": 1.0, "step": 0, "loss": 2.5, "lr": 0.1, "grad_norm": 1.25},
    {"time": 2.0, "step": 1, "loss": None, "lr": 0.2, "grad_norm": 1.0},
    {"time": 2.5, "step": 1, "val_loss": 3.0},
    {"time": 3.0, "step": 1, "loss": 1.5, "lr": 0.2, "note": "text"},
]


@pytest.fixture
def run(launch: Cli) -> Cli:
    job = launch.job(1)
    Path(job.job_dir, "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return launch


def test_metrics_as_json_and_csv(run: Cli) -> None:
    code, out, err = run("metrics", "stub-a", "--json")
    document = json.loads(out)
    assert (code, err, document["run"]) == (0, "", "stub-a")
    assert document["rows"] == [
        {"time": 1.0, "step": 0, "loss": 2.5, "lr": 0.1, "grad_norm": 1.25},
        {"time": 3.0, "step": 1, "loss": 1.5, "lr": 0.2, "grad_norm": None, "val_loss": 3.0},
    ]
    code, out, err = run("metrics", "stub-a", "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "")
    told = [{k: None if v in (None, "") else float(v) for k, v in row.items()} for row in table]
    assert told == [{**row, "val_loss": row.get("val_loss")} for row in document["rows"]]


def test_a_validation_of_no_token_is_no_loss(launch: Cli) -> None:
    """Neither as the agent writes it, nor as AutoModel tells it: 0.0 would be the lowest of the run."""
    path = Path(launch.job(1).job_dir, "metrics.jsonl")
    rows = [{"time": 4.0, "step": 1, "val_loss": loss, "num_label_tokens": 0, "name": "x"} for loss in (None, 0.0)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*ROWS, *rows, {**rows[1], "name": "default"}]))
    assert "val_loss/x" not in launch("metrics", "stub-a", "--csv")[1].splitlines()[0]
    assert [row.get("val_loss") for row in json.loads(launch("metrics", "stub-a", "--json")[1])["rows"]] == [None, 3.0]
    assert "validation loss 3.0000" in launch("status", "stub-a")[1]


def test_metrics_as_a_table(run: Cli) -> None:
    shown = [line.split() for line in run("metrics")[1].splitlines()]
    assert shown[0] == ["step", "loss", "val_loss", "lr", "grad_norm"]
    assert shown[1:] == [["0", "2.5", "0.1", "1.25"], ["1", "1.5", "3", "0.2"]]


def test_metrics_of_a_run_without_a_step(launch: Cli) -> None:
    launch.job(1)
    assert launch("metrics", "stub-a", "--csv") == (0, "", "stub-a has logged no step yet\n")
    assert json.loads(launch("metrics", "stub-a", "--json")[1]) == {"run": "stub-a", "rows": []}


def test_a_job_whose_directory_was_removed_is_said_to_be_that(
    launch: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = launch.job(1)
    assert launch("status", "stub-a")[0] == 0  # the end is kept
    shutil.rmtree(job.job_dir)
    for command in ("metrics", "logs", "report"):
        assert f"stub-a.1: its directory is gone: {job.job_dir}" in launch(command, "stub-a")[2], command


def test_a_report_is_written_and_written_again(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "report-stub-a.html"
    assert run("report", "stub-a") == (0, f"{path}\n", "")
    assert '"name":"stub-a","state":"COMPLETED"' in path.read_text()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    code, out, err = run("report", "stub-a.1", "stub-a", "--open", "--json")
    assert (code, json.loads(out)) == (0, {"file": str(path), "runs": ["stub-a"]})
    assert opened == [path.as_uri()]
    assert "no browser" in err
    assert [file.name for file in tmp_path.glob("*report*")] == [path.name]


def test_a_report_keeps_other_files(run: Cli, tmp_path: Path) -> None:
    other = tmp_path / "notes.html"
    other.write_text("mine")
    run.refused(2, ("report", "stub-a", "-o", str(other)), "no report", "-o ANOTHER.html")
    run.refused(2, ("report", "stub-a", "-o", str(tmp_path)), "is a directory")
    run.refused(2, ("report", "stub-a", "-o", str(tmp_path / "none" / "x.html")), "no directory", "mkdir -p")
    assert other.read_text() == "mine"
    os.mkfifo(tmp_path / "pipe.html")
    run.refused(2, ("report", "stub-a", "-o", str(tmp_path / "pipe.html")), "no regular file")
    (tmp_path / "link.html").symlink_to("real.html")
    assert run("report", "stub-a", "-o", str(tmp_path / "link.html"))[0] == 0
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").is_file()


def test_a_page_is_written_until_the_run_has_ended(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metrics are read once, an outage leaves it as it is, and its last form waits for no other one."""
    path, metrics = tmp_path / "page.html", run.bench.root / "runs" / "stub-a.1" / "metrics.jsonl"
    states = [Status("RUNNING"), Status("RUNNING"), None, Status("RUNNING"), Status("COMPLETED")]
    pages: list[str] = []
    clock = [0.0]

    def status(record: object) -> Status:
        found = states.pop(0)
        if found is None:
            raise ClusterError("login1 does not answer.")
        return found

    def pause(seconds: float) -> None:
        assert seconds >= 10
        clock[0] += seconds
        pages.append(path.read_text())
        with metrics.open("a") as file:
            file.write(json.dumps({"time": 5.0, "step": 1 + len(pages), "loss": 1.0}) + "\n")

    taken: list[int] = []
    real = reading._take

    def take(*args: object) -> None:
        taken.append(1)
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(one_job, "status", status)
    monkeypatch.setattr(report, "Pace", lambda quickest: Pace(quickest, lambda: clock[0]))
    monkeypatch.setattr(reading, "_take", take)
    monkeypatch.setattr(report.Pages.__init__, "__defaults__", (None, pause))
    code, out, err = run("report", "stub-a", "--watch", "-o", str(path))
    assert (code, out) == (0, f"{path}\n")
    assert err.splitlines()[-1] == "stub-a: COMPLETED; page.html is complete"
    assert err.count("login1 does not answer") == 1
    assert len(pages) == 4 and pages[2] == pages[1]
    assert all('"again_s":10.0' in page for page in pages)
    assert '"again_s":null' in path.read_text()
    assert len(taken) == len(metrics.read_text().splitlines())  # each line once


def test_watching_ends_where_another_file_is_in_its_place(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    monkeypatch.setattr(one_job, "status", lambda record: Status("RUNNING"))
    monkeypatch.setattr(report.Pages.__init__, "__defaults__", (None, lambda seconds: path.write_text("mine")))
    code, _, err = run("report", "stub-a", "--watch", "-o", str(path))
    assert code == 2 and "is no report" in err
    assert path.read_text() == "mine"


def test_ctrl_c_leaves_a_page_that_waits_for_no_other(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"

    def interrupt(seconds: float) -> None:
        assert '"again_s":10.0' in path.read_text()
        raise KeyboardInterrupt

    monkeypatch.setattr(one_job, "status", lambda record: Status("RUNNING"))
    monkeypatch.setattr(report.Pages.__init__, "__defaults__", (None, interrupt))
    code, _, err = run("report", "stub-a", "--watch", "-o", str(path))
    assert code == 130 and "Traceback" not in err
    assert '"again_s":null' in path.read_text()


def test_a_job_that_nobody_knows_is_not_watched_without_end(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pauses = tmp_path / "page.html", list[float]()
    monkeypatch.setattr(one_job, "status", lambda record: Status("UNKNOWN", forgotten=True))
    monkeypatch.setattr(report.Pages.__init__, "__defaults__", (None, pauses.append))
    assert run("report", "stub-a", "--watch", "-o", str(path))[0] == 0
    assert len(pauses) == 6
    assert '"again_s":null' in path.read_text()


def test_points_of_a_sweep_that_begin_later_join_the_page(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep that is run point by point; one that never comes is not waited for without end."""
    folder, path = run.bench.workspace.records, tmp_path / "page.html"
    points = tuple(sweeps.SweepPoint(name, name, {"lr": name}) for name in ("stub-a", "stub-b", "stub-c"))
    sweeps.save(folder, sweeps.Sweep("lrs", points, "0", 1.0, "local", "local"))
    looks: list[int] = []

    def pause(seconds: float) -> None:
        looks.append(path.read_text().count('"job_id":"stub-'))
        if len(looks) == 2:
            (first,) = records.all_records(folder)
            root = run.bench.root / "runs"
            words: dict[str, Any] = {
                "job_id": "stub-b.1",
                "job_dir": str(root / "stub-b.1"),
                "run_dir": str(root / "stub-b"),
            }
            records.save(folder, replace(first, run_name="stub-b", **words))

    monkeypatch.setattr(one_job, "status", lambda record: Status("COMPLETED"))
    monkeypatch.setattr(report.Pages.__init__, "__defaults__", (None, pause))
    code, _, err = run("report", "lrs", "--watch", "-o", str(path))
    assert (code, err) == (0, "2 COMPLETED; page.html is complete\n")
    assert len(looks) < 20
    names = [each["name"] for each in json.loads(re.findall(r'id="data">(.*)</script>', path.read_text())[0])["runs"]]
    assert names == ["stub-a", "stub-b"]
    assert '"title":"lrs"' in path.read_text()
    assert '"label":".2 lr=stub-b"' in path.read_text()


def test_a_pipeline_has_a_page_of_the_runs_of_its_steps(run: Cli, tmp_path: Path) -> None:
    folder, path = run.bench.workspace.records, tmp_path / "page.html"
    point = sweeps.SweepPoint("one", "stub-a", {"lr": "1"})
    sweeps.save(folder, sweeps.Sweep("lrs", (point,), "0", 1.0, "local", "local"))
    steps = (PipelineStep("data", run_name="stub-none"), PipelineStep("rates", ("data",), sweep="lrs"))
    pipelines.save(folder, Pipeline("both", steps, "0", 1.0, "python launch.py pipeline both"))
    code, out, err = run("report", "both", "-o", str(path))
    assert (code, out, err) == (0, f"{path}\n", "")
    page = path.read_text()
    assert '"title":"both"' in page and '"label":"rates.1"' in page
    pipelines.save(folder, Pipeline("empty", steps[:1], "0", 1.0, "python launch.py pipeline empty"))
    code, _, err = run("report", "empty", "-o", str(path))
    assert code == 2 and "no job of empty was submitted" in err and "launch.py status empty" in err
    code, _, err = run("compare", "empty")
    assert code == 2 and "python launch.py report empty" in err
