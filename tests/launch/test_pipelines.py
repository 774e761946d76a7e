"""Pipelines on this machine: planned as one, run one after the other, gone on with, skipped."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import contract
from automodel_launch.config import pipelines
from tests.conftest import OVER_SSH, ROOT, Checkout, Main

pytestmark = pytest.mark.e2e

FILE = """\
steps:
  last: {recipe: stub-one, overrides: {value: "${steps.middle.run_dir} behind ${steps.first.run_name}"}}
  middle: {recipe: stub-one, needs: first, overrides: {value: 2}}
  first: {recipe: stub-one}
"""


@pytest.fixture
def pipeline(checkout: Checkout) -> str:
    path = checkout.root / "three.yaml"
    path.write_text(FILE)
    return str(path)


def _plan(main: Main, checkout: Checkout, *words: str) -> dict[str, Any]:
    done = main(checkout, "pipeline", *words, "--dry-run", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _states(plan: dict[str, Any]) -> list[str | None]:
    return [step["state"] for step in plan["steps"]]


def test_it_stops_at_a_failure_and_goes_on_from_there(checkout: Checkout, main: Main, pipeline: str) -> None:
    before = _plan(main, checkout, pipeline)
    assert [step["name"] for step in before["steps"]] == ["first", "middle", "last"]
    first, middle, last = (step["plan"] for step in before["steps"])
    assert last["config"]["value"] == f"{middle['run_dir']} behind {first['run_name']}"
    broken = main(checkout, "pipeline", pipeline, "middle.fail_rank=0", "middle.code=7")
    stands = json.loads(main(checkout, "status", Path(pipeline).stem, "--json").stdout)
    words = f"python launch.py pipeline {pipeline} --run local middle.fail_rank=0 middle.code=7"
    assert stands["go_on"] == words  # to be pasted
    assert (broken.returncode, "completed steps: first." in broken.stderr) == (7, True), broken.stderr
    assert [row["state"] for row in json.loads(main(checkout, "jobs", "--json").stdout)] == ["COMPLETED", "FAILED"]
    assert _states(_plan(main, checkout, pipeline, "middle.fail_rank=0", "middle.code=7")) == ["FINISHED", None, None]
    done = main(checkout, "pipeline", pipeline)
    assert done.returncode == 0, done.stderr
    assert f"step first: run {first['run_name']} is finished" in done.stderr
    again = main(checkout, "pipeline", pipeline, "--json")
    assert (again.returncode, json.loads(again.stdout)["plan_hash"]) == (0, before["plan_hash"])
    after = _plan(main, checkout, pipeline)
    assert (_states(after), after["plan_hash"]) == (["FINISHED"] * 3, before["plan_hash"])
    assert len(json.loads(main(checkout, "jobs", "--json").stdout)) == 4
    assert _states(_plan(main, checkout, pipeline, "first.value=9")) == [None, None, None]  # `last` has its name
    text = main(checkout, "pipeline", pipeline, "--dry-run").stdout
    assert "3 steps, 0 to do" in text and max(map(len, text.splitlines())) < 200


def test_a_step_that_was_done_again_makes_later_ones_stale(checkout: Checkout, main: Main, pipeline: str) -> None:
    assert main(checkout, "pipeline", pipeline).returncode == 0
    first = _plan(main, checkout, pipeline)["steps"][0]["plan"]
    told = Path(first["run_dir"], contract.HISTORY)
    _set_the_clock(told, 300.0)  # of its node, which is not that of the others
    assert _states(_plan(main, checkout, pipeline)) == ["FINISHED"] * 3
    assert main(checkout, "stub-one").returncode == 0  # the same run, once more
    assert main(checkout, "jobs").stdout.count(first["run_name"]) == 2
    assert _states(_plan(main, checkout, pipeline)) == ["FINISHED", None, None]
    _set_the_clock(told, -900.0)
    assert _states(_plan(main, checkout, pipeline)) == ["FINISHED", None, None]
    for notes in told.parent.parent.glob("*/notes.json"):  # of jobs of a launcher that left no word of it
        notes.unlink()
    assert _states(_plan(main, checkout, pipeline)) == ["FINISHED"] * 3


def _set_the_clock(told: Path, seconds: float) -> None:
    """Without another length: where a line stands is what counts."""
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    moved = [json.dumps({**line, "time": int(line["time"] + seconds)}) for line in lines]
    told.write_text(
        "".join(f"{new:<{len(old)}}\n" for new, old in zip(moved, told.read_text().splitlines(), strict=True))
    )


def test_two_launchers_at_once_are_one_pipeline(checkout: Checkout, main: Main, pipeline: str) -> None:
    """Whoever comes second follows what the first has submitted, or is refused the run; nothing runs twice."""
    words = ("pipeline", pipeline, "--json", "first.steps=20", "first.pause=0.2")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: checkout.run(*words), range(2)))
    assert {one.returncode for one in done} <= {0, 3} and 0 in {one.returncode for one in done}, done
    assert not any("NOT_SUBMITTED" in one.stderr + one.stdout for one in done)
    rows = json.loads(main(checkout, "jobs", "--json").stdout)
    assert [row["state"] for row in rows] == ["COMPLETED"] * 3


def test_what_is_wrong_names_the_step_and_submits_nothing(checkout: Checkout, main: Main, pipeline: str) -> None:
    detached = main(checkout, "pipeline", pipeline, "--batch", "local")
    assert (detached.returncode, "step middle" in detached.stderr, "--run" in detached.stderr) == (2, True, True)
    assert not (checkout.root / ".launch" / "pipelines").exists()  # what `status` tells is the last launch
    for words, code, said in (
        (["last.valu=1"], 2, "step last: "),
        (["last"], 2, "'last': which key of that step is to be set?"),
        (["last.value=${steps.first.hf}"], 2, "step last: value: step first promises no 'hf'"),
        (["middle.run.env.python=/no/such/python"], 3, "step middle: error: [no-python]"),
        (["--run", "no-such"], 2, "no profile"),
        (["--dry-runn"], 2, "--dry-run"),
    ):
        refused = main(checkout, "pipeline", pipeline, *words)
        assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr
        assert "Traceback" not in refused.stderr
    two = main(checkout, "pipeline", pipeline, "first.run.env.python=/no/one", "last.run.env.python=/no/other")
    assert two.stderr.startswith("error: pipeline three was not submitted: 2 errors.\nstep first: error: [no-python]")
    assert two.stderr.count("    fix: ") == 2 and "--force submits it all the same" in two.stderr, two.stderr
    assert main(checkout, "pipeline").returncode == 2
    same = checkout.root / "same.yaml"
    same.write_text("steps: {a: {recipe: stub-one}, b: {recipe: stub-one, needs: a}}")
    refused = main(checkout, "pipeline", str(same))
    assert (refused.returncode, "are one run" in refused.stderr) == (2, True)
    assert main(checkout, "jobs").stdout == ""


def test_what_another_step_makes_is_not_reported_missing(checkout: Checkout, main: Main) -> None:
    """The rest is: data-prep's texts, the tokenizer, and a config's own mistakes."""
    plan = _plan(main, checkout, "tiny", "train.step_scheduler.global_batch_size=15")
    data, train, check = plan["steps"]
    codes = {step["name"]: {f["code"] for f in step["findings"] if f["level"] == "error"} for step in plan["steps"]}
    assert codes["data"] == {"no-tokenizer", "data-prep-input"}
    assert codes["train"] == {"no-tokenizer", "batch-not-divisible"} or "no-data" not in codes["train"]
    assert codes["check"] == set()
    assert data["promises"]["blend"] == f"{checkout.root}/data/tiny/megatron/latest/blend.json"
    assert train["plan"]["config"]["dataset"]["paths"] == data["promises"]["blend"]
    assert check["plan"]["config"]["model"] == train["promises"]["hf"] == f"{train['plan']['run_dir']}/hf"
    noted = {finding["code"]: finding["message"] for finding in train["findings"]}
    assert "made by step data" in noted["data-not-known"]


def test_llama_is_planned_for_a_cluster(checkout: Checkout, main: Main) -> None:
    """From a laptop; the data's hash is not known there, so `latest` is what it promises."""
    with (checkout.root / "env.toml").open("a") as file:
        file.write("[dgx]" + OVER_SSH)
    plan = _plan(main, checkout, "llama-3.1-8b", "--batch", "dgx", "--offline")
    data, train, check = plan["steps"]
    assert [f for step in plan["steps"] for f in step["findings"] if f["level"] == "error"] == []
    points = [point["plan"] for point in train["sweep"]["points"]]
    assert [point["config"]["optimizer"]["lr"] for point in points] == [1.5e-5, 3e-5, 6e-5]
    assert [step["profile"] for step in (data["plan"], *points, check["plan"])] == ["dgx"] * 5
    assert "--gpus-per-node=8" in train["sweep"]["script"] + points[0]["script"]
    assert "--gpus-per-node=8" not in data["plan"]["script"]
    told = {finding["code"] for step in plan["steps"] for finding in step["findings"] if finding["level"] != "note"}
    assert told <= {"not-asked"}, plan["steps"]
    blend = "/shared/jobs/data/corpus/megatron-llama-3.1/latest/blend.json"
    assert {point["config"]["dataset"]["paths"] for point in points} == {blend}
    assert check["plan"]["config"]["model"] == train["promises"]["best.hf"]
    assert check["needs"] == ["train"]
    mixed = checkout.root / "mixed.yaml"
    text = (ROOT / "configs/pipeline/llama-3.1-8b.yaml").read_text()
    mixed.write_text(text.replace("recipe: data-prep\n", "recipe: data-prep\n    profile: local\n"))
    refused = main(checkout, "pipeline", str(mixed), "--batch", "dgx", "--offline", "--dry-run")
    assert (refused.returncode, "on another machine" in refused.stderr) == (2, True), refused.stderr


def test_the_page_shows_the_pipeline_that_is_there(tmp_path: Path) -> None:
    """The commands above it are those that tests/launch/test_train_tiny.py runs."""
    page = (ROOT / "docs/pipelines.md").read_text()
    assert "    python scripts/make_tiny_corpus.py\n    python launch.py pipeline tiny\n" in page
    shown = page.partition("configs/pipeline/tiny.yaml is\n\n")[2].partition("\n## ")[0]
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "configs/pipeline/tiny.yaml").read_text())
    path = tmp_path / "page.yaml"
    path.write_text(page.partition("## A step that is a sweep\n\n")[2].partition("\n`sweep` has")[0])
    rates, check = pipelines.read(path)
    assert (rates.sweep and rates.sweep.metric, check.needs, check.sweep) == ("val_loss", ("rates",), None)


def test_steps_that_do_not_need_the_one_that_fails_go_on(checkout: Checkout, main: Main) -> None:
    path = checkout.root / "two.yaml"
    path.write_text(
        "steps:\n  bad: {recipe: stub-one, overrides: {fail_rank: 0, code: 7}}\n"
        "  behind: {recipe: stub-one, needs: bad, overrides: {value: 2}}\n"
        "  far: {recipe: stub-one, needs: behind, overrides: {value: 3}}\n"
        "  alone: {recipe: stub-one, overrides: {value: 4}}\n"
    )
    done = main(checkout, "pipeline", str(path), "--json")
    rows = [(row["name"], row["job_id"] is not None, row["exit_code"]) for row in json.loads(done.stdout)["steps"]]
    assert rows == [("bad", True, 7), ("behind", False, None), ("far", False, None), ("alone", True, 0)]
    assert done.returncode == 7 and "completed steps: alone." in done.stderr
    assert "step far: not started, since step bad has failed" in done.stderr
