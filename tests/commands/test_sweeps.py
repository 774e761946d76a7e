"""Sweeps as a person types them: on this machine one point after the other, and what the commands say of them."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from automodel_launch.commands import one_sweep
from automodel_launch.jobs.records import Status
from automodel_launch.jobs.sweeps import Sweep, SweepPoint
from tests.conftest import Checkout, Main

LOCAL = ("stub-one", "--run", "local", "--name", "s", "fail_rank=0")


def test_one_point_after_the_other(checkout: Checkout, main: Main, tmp_path: Path) -> None:
    """The failure of one does not stop the others, and the same command again runs what is missing."""
    command = (*LOCAL, "--sweep", "value=1,2", "--sweep", "code=0,7")
    shown = json.loads(main(checkout, *command, "--dry-run", "--json").stdout)
    assert [point["settings"] for point in shown["points"]] == [
        {"value": value, "code": code} for value in ("1", "2") for code in ("0", "7")
    ]
    done = main(checkout, *command, "--stop-after-failures", "1")
    assert (done.returncode, "not started: 2 points" in done.stderr) == (7, True), done.stderr
    done = main(checkout, *command, "--json")
    states = [(point["state"], point["code"]) for point in json.loads(done.stdout)["points"]]
    assert (done.returncode, states) == (7, [("COMPLETED", 0), ("FAILED", 7)] * 2)
    jobs = sorted(path.name for path in (checkout.root / "runs").glob("s-*.*"))
    assert len(jobs) == 5  # the point that had failed was run once more
    status = main(checkout, "status", "s").stdout
    assert status.startswith("s: 2 COMPLETED, 2 FAILED\n") and "  .4     2      7     FAILED" in status
    assert json.loads(main(checkout, "status", "s.4", "--json").stdout)["code"] == 7
    assert main(checkout, "attach", "s").returncode == 7
    rows = json.loads(main(checkout, "compare", "s", "--json").stdout)
    assert rows["by"] == "loss" and {row["value"] for row in rows["points"]} == {8.0}
    assert main(checkout, "compare", "s", "--csv").stdout.splitlines()[0].startswith("point,run_name,value,code,loss,")
    page = main(checkout, "report", "s", "-o", str(tmp_path / "page.html"), "--json")
    assert len(json.loads(page.stdout)["runs"]) == 4
    grown = main(checkout, "stub-one", "--run", "local", "--name", "s", "--sweep", "value=9,8", "--dry-run")
    assert re.findall(r"^  (\.\d+) .*", grown.stdout, re.MULTILINE) == [".5", ".6"]
    assert "sweeps: s;" in main(checkout, "jobs").stderr
    assert '"title":"s"' in (tmp_path / "page.html").read_text()
    pruned = [json.loads(main(checkout, "prune", word, "--older-than", "0m", "--json").stdout) for word in ("s", "s.1")]
    assert [len({item["run"] for item in found["items"]}) for found in pruned] == [4, 1]
    for words, said in [
        (("prune", "s.5"), "they are 1 to 4"),
        (("prune", "s-"), "no run, job, sweep or pipeline 's-'"),
        (("logs", "s"), "its points: s.1 to s.4"),
        (("status", "s.5"), "they are 1 to 4"),
        (("stub-one", "--after", "s.5"), "they are 1 to 4"),
        (("compare", "s", "--by", "speed"), "no point of s has logged it"),
        (("compare", "nothing"), "no sweep 'nothing'"),
        (("cancel", "s"), "no point of s is in the queue or runs"),
        (("pause", "s"), "no point of s is in the queue or runs"),
        (("stub-one", "--name", "s"), "a sweep has this name"),
        ((*LOCAL, "--name", "s-0c8753", "--sweep", "value=1"), "a run has this name"),
        (("stub-one", "--batch", "local", "--sweep", "value=1,2"), "--run local"),
        (("stub-one", "--at-most", "2"), "--at-most belongs to a sweep"),
        ((*LOCAL, "--sweep", "value=1", "--at-most", "none"), "expected a number from 1 on"),
        ((*LOCAL, "--sweep", "value=1,1"), "two points are one run"),
        ((*LOCAL, "--sweep", "valu=1,2"), "Did you mean 'value'?"),
    ]:
        refused = main(checkout, *words)
        assert (refused.returncode, said in refused.stderr) == (2, True), (words, refused.stderr)


def test_after_a_sweep(checkout: Checkout, main: Main) -> None:
    """A job, and a sweep, behind all points of another: waited for here, and refused where one has failed."""
    first = ("stub-one", "--name", "first", "--sweep", "value=1,2")
    assert main(checkout, *first).returncode == 0
    shown = json.loads(main(checkout, "stub-one", "value=3", "--after", "first", "--dry-run", "--json").stdout)
    assert "after" not in shown  # both have completed
    behind = ("stub-one", "--name", "second", "--sweep", "value=4,5", "code=7", "--after", "first")
    broken = main(checkout, *behind, "fail_rank=0")
    assert broken.returncode == 7, broken.stderr
    for words in (("value=6",), ("--sweep", "value=6,7", "--name", "third")):
        refused = main(checkout, "stub-one", *words, "--after", "second", "--force")
        assert (refused.returncode, "has not completed" in refused.stderr) == (3, True), refused.stderr


def test_a_record_that_somebody_has_edited(checkout: Checkout, main: Main) -> None:
    folder = checkout.root / ".launch" / "sweeps"
    folder.mkdir(parents=True)
    for number, text in enumerate(["", "[]", '{"points": 1}', '{"points": [{"label": 1}]}', '{"points": []}']):
        (folder / f"odd-{number}.json").write_text(text)
        refused = main(checkout, "status", f"odd-{number}")
        assert refused.returncode == 2 and "no job" in refused.stderr
    for name in ("../jobs/x", "a/b", "x\n"):
        assert main(checkout, "status", name).returncode == 2


def test_steps_of_a_point_are_told_as_those_of_a_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many are done, of which the last has a number that is one less."""
    point = SweepPoint("1", "s-1", {"value": "1"})
    sweep = Sweep("s", (point,), "0", 1.0, "local", "local")
    row = one_sweep.Row(1, point, None, Status("RUNNING", step=119))
    monkeypatch.setattr(one_sweep, "look", lambda args, sweep: [row])
    one_sweep.status(argparse.Namespace(json=False), sweep)
    assert "RUNNING  120" in capsys.readouterr().out
    assert one_sweep.document(sweep, [row])["points"][0]["step"] == 119
