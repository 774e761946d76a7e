"""`diff A B`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout, Main


def _sections(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["sections"]
    return found


def test_what_differs_between_two_jobs(ran: Checkout, main: Main) -> None:
    done = main(ran, "diff", "first", "second")
    assert (done.returncode, done.stderr) == (1, "")
    assert 'value: "plain" -> "RUN_DIR/x"' in done.stdout
    assert "stop_grace: not set -> 77" in done.stdout
    assert "  -rate = 1\n  +rate = 2\n" in done.stdout
    assert "environment  the same\n" in done.stdout
    assert "script       the same\n" in done.stdout  # but for what each job has of its own
    assert "hush" not in done.stdout
    told = json.loads(main(ran, "diff", "first.1", "second.1", "--json").stdout)
    assert told["same"] is False
    assert {name: section["same"] for name, section in told["sections"].items()} == {
        "config": False,
        "profile": False,
        "code": False,
        "data": None,  # it has none
        "environment": True,
        "script": True,
    }
    assert told["sections"]["config"]["differences"] == [{"key": "value", "a": "plain", "b": "RUN_DIR/x"}]
    assert [row["key"] for row in told["sections"]["code"]["differences"]] == ["mine/model.py"]


def test_a_job_is_as_itself(ran: Checkout, main: Main) -> None:
    done = main(ran, "diff", "first", "first.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 7


def test_what_is_gone_or_was_never_written_is_said(ran: Checkout, main: Main, tmp_path: Path) -> None:
    job = ran.root / "runs" / "second.1"
    kept = tmp_path / "kept"
    shutil.copytree(job, kept)
    try:
        (job / "environment.json").write_text("[")
        (job / "code" / "mine" / "model.py").unlink()
        told = _sections(main(ran, "diff", "first", "second", "--json").stdout)
        assert told["environment"]["same"] is None
        assert "not recorded by one of them" in told["environment"]["why"]
        assert (told["code"]["same"], told["code"]["text"]) == (False, [])
        plan = json.loads((job / "plan.json").read_text())
        plan["files"], plan["config"] = [None, {"path": "code/x"}], "\x1b[2J"
        (job / "plan.json").write_text(json.dumps(plan))
        assert main(ran, "diff", "first", "second", "--full").returncode == 1
        (job / "plan.json").write_text("{")
        refused = main(ran, "diff", "first", "second")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "plan.json" in refused.stderr and "cannot be read" in refused.stderr
        shutil.rmtree(job)
        assert "is gone" in main(ran, "diff", "first", "second").stderr
    finally:
        shutil.rmtree(job, ignore_errors=True)
        shutil.copytree(kept, job)


@pytest.mark.parametrize(
    ("a", "b", "same", "word"),
    [
        ({"packages": {"torch": "2.1"}}, {"packages": {"torch": "2.2", "x": "1"}}, False, "package torch"),
        ({"driver": "550.1"}, {"driver": "550.2"}, False, "driver"),
        ({"host": "a", "time": 1.0}, {"host": "b", "time": 2.0}, True, ""),
        ({"packages": ["torch"]}, {"packages": None}, True, ""),
        (None, {}, None, ""),
    ],
)
def test_environments(a: Any, b: Any, same: bool | None, word: str) -> None:
    from automodel_launch.reproduce import compare

    section = compare.environment(a, b)
    assert section.same is same
    assert word in "".join(row.key for row in section.rows)


def test_data_by_file() -> None:
    from automodel_launch.reproduce import compare

    one = {"digest": "1", "rows": [["/d/a", "", 10, 2, "x"], ["/d/b", "", 10, 2, "y"]]}
    other = {"digest": "2", "rows": [["/d/a", "", 10, 2, "x"], ["/d/b", "", 10, 2, "z"]]}
    assert "/d/b" in compare.data(one, other).text[0]
    assert compare.data(one, {"digest": "2"}).same is False
    assert compare.data(one, {}).same is None
    assert compare.data(one, dict(one)).same is True
