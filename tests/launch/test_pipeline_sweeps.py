"""A sweep as a step of a pipeline, on this machine: planned with the rest, its best point taken, gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from automodel_launch.launch import pipeline_sweeps
from tests.conftest import Checkout, Main

pytestmark = pytest.mark.e2e

FILE = """\
steps:
  rates:
    recipe: stub-one
    sweep: {list: [{steps: 2}, {steps: 4}, {steps: 3}]}
  last: {recipe: stub-one, overrides: {value: "${steps.rates.best.run_dir}"}}
"""
SOME = """\
steps:
  rates:
    recipe: stub-one
    overrides: {code: 7}
    sweep: {points: {good: {steps: 3}, bad: {steps: 5, fail_rank: 0}}, best: {highest: loss}}
  last: {recipe: stub-one, needs: {rates: HOW}, overrides: {value: "${steps.rates.best.run_dir}"}}
"""


def _write(checkout: Checkout, text: str) -> str:
    path = checkout.root / "sweeps.yaml"
    path.write_text(text)
    return str(path)


def _plan(main: Main, checkout: Checkout, *words: str) -> dict[str, Any]:
    done = main(checkout, "pipeline", *words, "--dry-run", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _chosen(plan: dict[str, Any]) -> dict[str, Any]:
    link = plan["steps"][1]["plan"]["config"]["value"]
    found: dict[str, Any] = json.loads(Path(f"{link}.json").read_text())
    assert Path(link).resolve().name == found["run_name"]
    return found


def test_the_best_point_is_a_path_that_is_known_beforehand(checkout: Checkout, main: Main) -> None:
    """Chosen when the step behind it begins, as `compare` sorts; a plan is the same before and after."""
    path = _write(checkout, FILE)
    before = _plan(main, checkout, path)
    rates, last = before["steps"]
    points = rates["sweep"]["points"]
    assert [point["settings"] for point in points] == [{"steps": "2"}, {"steps": "4"}, {"steps": "3"}]
    assert rates["plan"] is None and rates["promises"]["best.run_dir"] == last["plan"]["config"]["value"]
    assert "choices.json" in [file["path"] for file in last["plan"]["files"]]
    text = main(checkout, "pipeline", path, "--dry-run").stdout
    assert text.count("made-before") == 1
    assert f"sweep {rates['sweep']['sweep']}: 3 points" in text and "${steps.rates.best.run_dir} = " in text
    done = main(checkout, "pipeline", path, "--json")
    assert done.returncode == 0, done.stderr
    assert [step["exit_code"] for step in json.loads(done.stdout)["steps"]] == [0, 0]
    best = points[1]["plan"]["run_name"]
    chosen = _chosen(before)
    assert (chosen["run_name"], chosen["metric"], chosen["value"], chosen["step"]) == (best, "loss", 6.0, 3)
    compared = json.loads(main(checkout, "compare", rates["sweep"]["sweep"], "--json").stdout)["points"]
    assert {row["run_name"]: row["value"] for row in compared} == chosen["points"]
    assert compared[0]["run_name"] == best
    after = _plan(main, checkout, path)
    assert after["plan_hash"] == before["plan_hash"]
    assert [step["state"] for step in after["steps"]] == ["FINISHED", "FINISHED"]
    status = json.loads(main(checkout, "status", "sweeps", "--json").stdout)
    assert [step["state"] for step in status["steps"]] == ["COMPLETED", "COMPLETED"] and status["go_on"] is None
    assert "step rates of sweeps" in main(checkout, "jobs").stdout
    refused = main(checkout, "logs", "sweeps")
    assert (refused.returncode, "sweeps is a pipeline, and one job is meant here" in refused.stderr) == (2, True)
    of_pipeline = json.loads(main(checkout, "compare", "sweeps", "--json").stdout)
    assert of_pipeline["sweep"] == rates["sweep"]["sweep"] and of_pipeline["points"] == compared
    for words in (("reproduce", "sweeps"), ("diff", "sweeps", "last"), ("stub-one", "--from", "sweeps", "--dry-run")):
        refused = main(checkout, *words)
        steps = f"one of its steps: {rates['sweep']['sweep']}.1 (rates), {last['plan']['run_name']} (last)"
        assert (refused.returncode, steps in refused.stderr) == (2, True), refused.stderr
    refused = main(checkout, "resume", "sweeps")
    assert (refused.returncode, f"pipeline {path} --run local" in refused.stderr) == (2, True), refused.stderr
    assert "item" in main(checkout, "prune", "sweeps", "--older-than", "0m", "--json").stdout
    behind = main(checkout, "stub-one", "value=9", "--after", "sweeps", "--dry-run", "--json")
    assert behind.returncode == 0, behind.stderr
    again = main(checkout, "pipeline", path)
    assert (again.returncode, "is finished" in again.stderr) == (0, True)
    assert len(json.loads(main(checkout, "jobs", "--json").stdout)) == 4
    grown = _plan(main, checkout, _write(checkout, FILE.replace("{steps: 3}", "{steps: 5}")))
    assert [step["state"] for step in grown["steps"]] == [None, None]  # another sweep, so another best one
    assert sorted(grown["steps"][0]["sweep"]["left_out"].values()) == ["FINISHED", "FINISHED"]


def test_a_failed_point_stops_what_needs_all_of_them(checkout: Checkout, main: Main) -> None:
    path = _write(checkout, SOME.replace("HOW", "all"))
    done = main(checkout, "pipeline", path)
    assert (done.returncode, "step last: not started, since step rates has failed" in done.stderr) == (7, True)
    assert len(json.loads(main(checkout, "jobs", "--json").stdout)) == 2
    again = _plan(main, checkout, path)
    assert [step["state"] for step in again["steps"]] == [None, None]
    assert list(again["steps"][0]["sweep"]["left_out"].values()) == ["FINISHED"]


def test_what_takes_any_point_goes_on_with_those_that_completed(checkout: Checkout, main: Main) -> None:
    """With the best of them, and it is not tried again; where none has completed nothing goes on."""
    path = _write(checkout, SOME.replace("HOW", "any"))
    before = _plan(main, checkout, path)
    done = main(checkout, "pipeline", path)
    assert done.returncode == 0, done.stderr
    assert _chosen(before)["points"] == {before["steps"][0]["sweep"]["points"][0]["plan"]["run_name"]: 7.0}
    name = Path(path).stem
    assert json.loads(main(checkout, "status", name, "--json").stdout)["go_on"] is None
    assert main(checkout, "attach", name).returncode == 0  # as the launch itself
    after = _plan(main, checkout, path)
    assert [step["state"] for step in after["steps"]] == ["FINISHED", "FINISHED"]
    assert sorted(after["steps"][0]["sweep"]["left_out"].values()) == ["FAILED", "FINISHED"]
    none = SOME.replace("HOW", "any").replace("good: {steps: 3}", "good: {steps: 6, fail_rank: 0}")
    done = main(checkout, "pipeline", _write(checkout, none))
    assert (done.returncode, "step last: not started" in done.stderr) == (7, True), done.stderr


def test_a_failure_is_not_tried_again_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sweep of which any point will do; where nothing has completed, nor can, all are tried again."""

    def left(*states: str) -> list[str]:
        points = [SimpleNamespace(plan=SimpleNamespace(run_name=name)) for name in "abc"[: len(states)]]
        monkeypatch.setattr(pipeline_sweeps, "as_steps", lambda step: points)
        told = {name: (state, None, state == "RUNNING") for name, state in zip("abc", states, strict=False)}
        step: Any = SimpleNamespace(sweep=None)
        _, done = pipeline_sweeps.standing(step, lambda one: told[one.plan.run_name], True)
        return [point.plan.run_name for point in points if point.plan.run_name not in done]

    assert left("FAILED", "RUNNING", "CANCELLED") == ["c"]
    assert left("FAILED", "FINISHED", "") == ["c"]
    assert left("FAILED", "TIMEOUT") == ["a", "b"]


WRONG = [
    ("best.run_dir", "best.hf", "promises no 'best.hf'"),
    ("best.run_dir", "best.steps", "Of the best point a path can be taken, and no value"),
    ("best.run_dir", "run_dir", "promises no 'run_dir'"),
    ("list:", "lists:", "'lists' is no key of a sweep. Did you mean 'list'?"),
    ("{steps: 3}]", "{steps: 2}]", "two points are one run"),
    ("{steps: 3}]}", "{steps: 3}], at_most: 0}", "sweep: at_most: a number from 1 on, not 0"),
    ("{steps: 3}]}", "{steps: 3}], best: {least: loss}}", "sweep: best: a metric, or which of its values"),
    ("recipe: stub-one\n", "recipe: stub-one\n    overrides: {steps: 3}\n", "'steps' is swept, and set for all"),
    ("overrides: {value", "needs: {rates: some}, overrides: {value", "'some' is neither 'all' nor 'any'"),
    ("sweep: {list: [{steps: 2}, {steps: 4}, {steps: 3}]}", "sweep: 3", "sweep: a mapping, not 3"),
    ("{list: [{steps: 2}, {steps: 4}, {steps: 3}]}", "{at_most: 3}", "no point is given"),
    ("{steps: 3}]", "{step: 3}]", "Did you mean 'steps'?"),
]


def test_what_is_wrong_with_it_names_the_step(checkout: Checkout, main: Main) -> None:
    for old, new, said in WRONG:
        assert old in FILE
        refused = main(checkout, "pipeline", _write(checkout, FILE.replace(old, new)), "--dry-run")
        assert (refused.returncode, said in refused.stderr, "step " in refused.stderr) == (2, True, True), refused
        assert "Traceback" not in refused.stderr
    named = FILE.replace("  recipe", "  name: x\n    recipe").replace("{recipe", "{name: x, recipe")
    refused = main(checkout, "pipeline", _write(checkout, named), "--dry-run")
    assert (refused.returncode, "a sweep and a run have one name, x" in refused.stderr) == (2, True), refused
    for dry in ((), ("--dry-run",)):
        detached = main(checkout, "pipeline", _write(checkout, FILE.split("  last")[0]), "--batch", "local", *dry)
        assert (detached.returncode, "nobody who starts the next one" in detached.stderr) == (2, True), detached
    assert main(checkout, "jobs").stdout == ""
