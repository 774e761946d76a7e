"""MFU where model and GPU are known, by hand; nothing where one of them is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.report import page_data
from tests.report.test_page_data import curve, logged
from tests.workbench import make_bench

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import gpu_model

ROWS = [{"step": step, "time": float(step), "loss": 1.0, "tps": 8000.0, "tps_per_gpu": 1000.0} for step in range(3)]
H100 = "NVIDIA H100 80GB HBM3"


def data(root: Path, rows: list[dict[str, Any]], gpu: str | None, notes: object) -> dict[str, Any]:
    view = logged(root, rows)
    folder = root / "x.1"
    (folder / contract.EVENTS).write_text(
        json.dumps({"time": 1.0, "state": "started", "attempt": 0, "gpu": gpu}) + "\n"
    )
    (folder / contract.NOTES).write_text(json.dumps(notes))
    view = page_data.View(page_data_files(root), "RUNNING")
    (run,) = page_data.document([view], 1.0)["runs"]
    return dict(run)


def page_data_files(root: Path) -> Any:
    from automodel_launch.remote.filesystem import LOCAL
    from automodel_launch.report import reading
    from tests.report.test_run import record_of

    return reading.read(record_of(root, "x.1"), LOCAL)


def test_operations_a_token_times_tokens_a_second_over_the_peak(tmp_path: Path) -> None:
    run = data(tmp_path, ROWS, H100, {"flops_per_token": 4.0e11})
    assert run["gpu"] == {"model": H100, "peak": 989e12}
    assert curve(run, "mfu", "raw")["value"] == pytest.approx([100 * 4.0e11 * 1000 / 989e12] * 3)  # 40.4 %


def test_what_the_framework_logs_itself_counts(tmp_path: Path) -> None:
    rows = [{**row, "tflops_per_gpu": 494.5} for row in ROWS]
    assert curve(data(tmp_path, rows, H100, {}), "mfu", "raw")["value"] == pytest.approx([50.0] * 3)


@pytest.mark.parametrize(
    ("gpu", "notes"),
    [
        (None, {"flops_per_token": 1e11}),
        ("a GPU of next year", {"flops_per_token": 1e11}),
        (H100, {}),
        (H100, {"flops_per_token": None}),
        (H100, {"flops_per_token": "many"}),
        (H100, []),
    ],
)
def test_no_number_where_one_of_them_is_not_known(tmp_path: Path, gpu: str | None, notes: object) -> None:
    assert data(tmp_path, ROWS, gpu, notes)["curves"]["mfu"] == []


def test_the_profiles_gpu_counts_where_the_node_has_told_none(tmp_path: Path) -> None:
    run = data(tmp_path, ROWS, None, {"flops_per_token": 1e11, "gpu": "H200"})
    assert run["gpu"]["model"] == "H200"


def test_findings_are_those_of_the_submission_whatever_they_hold(tmp_path: Path) -> None:
    found = [{"level": "note", "code": "tokens", "message": "m", "fix": None}, "x", {"level": 3}]
    told = data(tmp_path, ROWS, None, {"findings": found})["findings"]
    assert told[0] == {"level": "note", "code": "tokens", "message": "m", "fix": ""}
    assert told[1] == {"level": "3", "code": "", "message": "", "fix": ""}


def test_a_node_tells_its_gpus_by_the_drivers_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in gpu_model._VISIBLE:
        monkeypatch.delenv(name, raising=False)
    assert gpu_model.model(str(tmp_path / "none")) is None
    for bus in ("0000:1b:00.0", "0000:43:00.0"):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(f"Model: \t\t {H100}\nIRQ:   \t\t 18\nGPU UUID: \t GPU-1\n")
    assert gpu_model.model(str(tmp_path)) == H100
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    assert gpu_model.model(str(tmp_path)) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    (tmp_path / bus / "information").write_text("Model: \t\t NVIDIA A10\n")
    assert gpu_model.model(str(tmp_path)) is None


def test_a_submission_keeps_what_its_launcher_knew(tmp_path: Path) -> None:
    from automodel_launch.launch import notes
    from automodel_launch.plan.finding import Finding

    plan = make_bench(tmp_path).plan()
    noted = notes.noted(plan, [Finding("note", "a-code", "words", "a fix")])
    assert noted.plan_hash == plan.plan_hash and noted.document() == plan.document()
    assert sorted(noted.notes) == sorted(contract.NOTES_KEYS)
    assert json.loads(json.dumps(noted.notes))["findings"][0]["code"] == "a-code"
