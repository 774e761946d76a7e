"""Records of a run whose values are of any kind: a job may have written anything, and a disk may have lost a part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import history
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.report import goodput, joining, page, page_data, reading
from tests.report.test_run import RECORDED, record_of

NOW = 2e9
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1e308, 10**400, float("nan"), float("inf")),
    *("", "x", "\x1b[2J\x00", "../../etc", [], [1], {}, {"a": 1}),
)


def _damage(file: Path, wrong: Any, first: int) -> None:
    """Another key of each third object has the value, or is not there where the value is the last of WRONG."""
    lines = file.read_text().split("\n") if file.suffix == ".jsonl" else [file.read_text()]
    damaged = []
    for number, line in enumerate(lines):
        value = json.loads(line) if line and (number + first) % 3 == 0 else None
        if isinstance(value, dict) and value:
            key = list(value)[(number // 3 + first) % len(value)]
            value[key] = wrong
            if wrong is WRONG[-1]:
                del value[key]
        damaged.append(json.dumps(value) if value else line)
    file.write_text("\n".join(damaged))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: repr(value)[:12])
def test_any_value_in_any_place(tmp_path: Path, wrong: Any) -> None:
    for first in range(8):
        root = tmp_path / str(first)
        shutil.copytree(RECORDED, root)
        for file in root.rglob("*.json*"):
            _damage(file, wrong, first)
        record = record_of(root, "demo.2")
        files = reading.read(record, LOCAL)
        joined = joining.join(files)
        found = goodput.of(files, joined, NOW).document()
        assert found["goodput"] is None or 0 <= found["goodput"] <= 1
        text = page.html(page_data.document([page_data.View(files, "COMPLETED")], NOW))
        assert "\x00" not in text
        history.table(history.attempts(record.run_dir, LOCAL))
