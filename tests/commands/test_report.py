"""`metrics` and `report`: the numbers of a run as a table, as CSV, as JSON and as a page."""

from __future__ import annotations

import csv
import io
import json
import webbrowser
from pathlib import Path

import pytest

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


def test_metrics_as_a_table(run: Cli) -> None:
    shown = [line.split() for line in run("metrics")[1].splitlines()]
    assert shown[0] == ["step", "loss", "val_loss", "lr", "grad_norm"]
    assert shown[1:] == [["0", "2.5", "0.1", "1.25"], ["1", "1.5", "3", "0.2"]]


def test_metrics_of_a_run_without_a_step(launch: Cli) -> None:
    launch.job(1)
    assert launch("metrics", "stub-a", "--csv") == (0, "", "stub-a has logged no step yet\n")
    assert json.loads(launch("metrics", "stub-a", "--json")[1]) == {"run": "stub-a", "rows": []}


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
