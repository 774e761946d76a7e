"""`profile` of a training that runs: torch's own profiler in two ranks, one of which is slow."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs.jobdir import parse
from tests.conftest import LIMIT_S, ROOT, Checkout, make_checkout, wait_for

pytestmark = [pytest.mark.train, pytest.mark.e2e]

STEPS = 5000


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with a job of tests/recipes/profiled.py that takes steps."""
    checkout = make_checkout(tmp_path_factory.mktemp("profile") / "checkout")
    shutil.copy(ROOT / "tests/recipes/profiled.py", checkout.root / "recipes")
    (checkout.root / "configs/profiled").mkdir()
    (checkout.root / "configs/profiled/default.yaml").write_text(f"steps: {STEPS}\n")
    begun = checkout.run("profiled", "--batch", "local", "--name", "p", "run.env.rank_times=8")
    assert begun.returncode == 0, begun.stderr
    wait_for(lambda: (checkout.root / "runs/p.1/metrics.jsonl").exists())
    yield checkout
    checkout.run("cancel", "p.1", "--now")


def _events(path: str) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        found: list[dict[str, Any]] = json.load(file)["traceEvents"]
    return found


def test_traces_of_all_ranks_and_the_slow_one_is_named(training: Checkout) -> None:
    found = training.json("profile", "p", "--steps", "+3", "--ranks", "all")
    assert found["last"] - found["first"] == 2
    for row in found["ranks"]:
        path = Path(found["folder"], row["trace"])
        assert row["bytes"] == path.stat().st_size
        names = {event["name"] for event in _events(str(path))}
        marks = {name for name in names if str(name).startswith("ProfilerStep")}
        assert marks == {f"ProfilerStep#{step}" for step in range(found["first"], found["last"] + 1)}
        assert {"gloo:all_reduce", "aten::mm"} <= names
        assert (row["error"], row["steps"], len(row["outside_s"])) == (None, 3, 3)
    assert [row["rank"] for row in found["ranks"]] == [0, 1]
    assert found["slowest"]["rank"] == 1
    assert found["slowest"]["lag_s"] > 0.075  # of the 0.15 s that it sleeps
    assert training.json("status", "p")["state"] == "RUNNING"


def test_a_rank_that_is_slow_each_time_is_named_by_status(training: Checkout) -> None:
    path = training.root / "runs/p.1/rank-times.jsonl"
    wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= 5)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [later["step"] - row["step"] >= 8 for row, later in itertools.pairwise(rows)].count(False) == 0
    assert [rank for rank, _ in rows[0]["ranks"]] == [0, 1]
    slow = wait_for(lambda: training.json("status", "p")["slow_rank"])
    assert (slow["rank"], slow["local_rank"], bool(slow["node"])) == (1, 1, True)
    assert slow["lag_s"] > 0.075
    assert "rank 1 (" in (text := training.run("status", "p").stdout)
    assert "is slow: the others wait for it" in text


def test_a_table_without_traces(training: Checkout) -> None:
    done = training.run("profile", "p", "--ranks", "0:1", "--no-trace")
    assert done.returncode == 0, done.stderr
    head, first, second = done.stdout.splitlines()
    assert head.split() == ["rank", "node", "GPU", "step", "outside", "collectives"]
    assert (first.split()[0], second.split()[0]) == ("1", "0")
    assert "the others wait for rank 1 (" in done.stderr


def test_one_step_of_a_rank_that_is_not_the_first(training: Checkout) -> None:
    done = training.run("profile", "p", "--steps", "+1", "--ranks", "1")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.name == "rank-1.trace.json.gz"
    assert sorted(each.name for each in path.parent.iterdir()) == ["rank-1.json", "rank-1.trace.json.gz"]
    assert "it opens in https://ui.perfetto.dev" in done.stderr


def test_what_cannot_be_done_is_refused(training: Checkout) -> None:
    for words, said in (
        (["--steps", "0:1"], "step 0 is past: the training has done step "),
        (["--steps", f"4999:{STEPS}"], f"step {STEPS} is beyond the end: the last one is {STEPS - 1}"),
        (["--ranks", "0,2"], "p.1 has no rank 2; ranks: 0 to 1"),
    ):
        done = training.run("profile", "p", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_second_one_at_once_a_withdrawal_and_the_end_of_the_training(training: Checkout) -> None:
    """Last: it ends the training."""
    request = training.root / "runs/p.1/request-profile"
    first = training.start("profile", "p", "--steps", "4990", "--json")
    wait_for(lambda: _answered(training, request))
    second = training.run("profile", "p")
    assert second.returncode == 2
    assert "another profile is asked for already, of step 4990; rm " in second.stderr
    assert _answered(training, request), "the one that was refused left the first's request alone"
    request.unlink()
    assert training.run("profile", "p", "--steps", "+1").returncode == 0, "the way is free, at once"
    out = first.communicate(timeout=LIMIT_S)[0]
    assert first.returncode == 2
    assert "it was withdrawn" in json.loads(out)["error"]["message"]
    later = training.start("profile", "p", "--steps", "4991")
    wait_for(lambda: _answered(training, request, "4991"))
    (training.root / "runs/p.1/enough").touch()
    said = later.communicate(timeout=LIMIT_S)[1]
    assert later.returncode == 2
    assert (
        "was not profiled: the training has ended before" in said or "has ended before the profile was written" in said
    )
    wait_for(lambda: (training.root / "runs/p.1/exit.json").exists())
    over = training.run("profile", "p")
    assert (over.returncode, "p.1 has ended: COMPLETED" in over.stderr) == (2, True)


def _answered(checkout: Checkout, request: Path, step: str = "4990") -> bool:
    asked = (parse(request.read_text()) or {}) if request.exists() else {}
    answer = checkout.root / f"runs/p.1/answers/profiler-{asked.get('id')}.json"
    return str(asked.get("first")) == step and answer.exists()
