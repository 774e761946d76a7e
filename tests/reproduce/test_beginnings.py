"""`reproduce` of a job that did not begin at its run's first step, or began with another run's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import rundir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import planning, submit
from automodel_launch.launch.origin import Origin
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.reproduce import again, left, same
from tests.workbench import Bench, make_bench

CONFIG = """
step_scheduler: {max_steps: 100, ckpt_every_steps: 50, global_batch_size: 8}
checkpoint: {checkpoint_dir: "${run.dir}/checkpoints"}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path).trains(own_recipe=True)
    bench.config(CONFIG)
    return bench


def _left(plan: Plan, from_step: int, **history: Any) -> left.Left:
    """The job as it is on disk once it has begun at that step and ended."""
    rundir.begin(plan.run_dir, dict(plan.trained))
    LOCAL.put(plan.job_dir, {file.path: file.source for file in plan.files}, submit.texts_of(plan))
    row = {"event": "ended", "time": 9.0, "job_id": plan.job_id, "attempt": 0, "from_step": from_step, **history}
    with Path(plan.run_dir, "history.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    return left.of(submit.record_of(plan, {}))


def _again(bench: Bench, found: left.Left, name: str | None = None) -> Plan:
    env_file = profiles.load(bench.workspace.env_file, None)
    wish = again.Again(found, Path(found.record.job_dir), "run", name=name)
    return again.plan(bench.workspace, env_file, wish, bench.environ)


def _told(found: left.Left, plan: Plan) -> list[tuple[str, str]]:
    return [(one.level, f"{one.message} {one.fix}") for one in same._beginning(found, plan)]


def test_a_run_that_was_made_longer_is_not_the_same_from_the_start(bench: Bench) -> None:
    first = _left(bench.plan(config="t", name="mine"), 0, state="COMPLETED")
    assert _told(first, _again(bench, first)) == []
    second = _left(bench.plan("step_scheduler.max_steps=200", config="t", name="mine"), 100)
    assert second.job_id == "mine.2"
    ((level, words),) = _told(second, _again(bench, second))
    assert level == "warning"
    for part in ("mine.2 went on from step 100", "step_scheduler.max_steps 100 (here 200)", "from 0 on"):
        assert part in words
    assert "`reproduce mine.1 --name NEW`, then `reproduce mine.2 --name NEW`" in words
    _left(_again(bench, first, "new"), 0)  # what that advises: the second one goes on with the first one's run
    assert _told(second, _again(bench, second, "new")) == []


def test_a_job_that_went_on_with_the_same_settings_is_told(bench: Bench) -> None:
    _left(bench.plan(config="t", name="mine"), 0, state="FAILED")
    second = _left(bench.plan(config="t", name="mine"), 50)
    assert [level for level, _ in _told(second, _again(bench, second))] == ["note"]


def test_where_a_run_came_from_is_kept(bench: Bench, tmp_path: Path) -> None:
    source = Origin("base", str(tmp_path / "base"), "epoch_0_step_9", 9, str(tmp_path / "base" / "w"), True, LOCAL)
    plan = bench.plan(config="t", name="mine", begins_from=source)
    found = _left(plan, 0)
    assert dict(_again(bench, found).origin) == source.document()
    Path(source.run_dir).mkdir()
    Path(source.run_dir, "finished.json").write_text("{}")  # its training is over, and removes nothing any longer
    assert dict(_again(bench, found).origin) == {**source.document(), "may_go": False}
    for broken in ({}, {"run_name": "base"}, "base"):
        assert dict(_again(bench, replace(found, plan={**found.plan, "origin": broken})).origin) == {}


def test_what_is_typed_finds_the_same_again(bench: Bench, tmp_path: Path) -> None:
    """Names where they do, else paths: from the directory of launch.py, where they are below it."""
    plan = bench.plan(config="t", name="mine")
    assert plan.typed == ("stub", "-c", "t")
    assert bench.plan().typed == ("stub",)
    for folder, shown in ((tmp_path / "else where", str(tmp_path / "else where")), (bench.root / "own", "own")):
        folder.mkdir()
        path = folder / "t.yaml"
        path.write_text(CONFIG)
        by_path = bench.plan(config=str(path), name="mine")
        assert by_path.typed == ("stub", "-c", f"{shown}/t.yaml")
    script = tmp_path / "else where" / "mine.py"
    script.write_text(bench.recipe.path.read_text())
    own = planning._typed(bench.workspace, recipes.find(bench.workspace, str(script)), bench.layered(config="t"))
    assert own == (str(script), "-c", "configs/stub/t.yaml")
    record = submit.record_of(_again(bench, _left(plan, 0)), {})
    assert record.typed == ["reproduce", "mine.1"]
    assert Record(**{**vars(record)}) == record
