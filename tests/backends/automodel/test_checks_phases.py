"""Findings about data in phases, and what the plan says of them: their steps, data, identity and tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import backends, data_identity
from automodel_launch.backends.automodel import checks, sizes
from automodel_launch.backends.automodel import pace as pace_
from automodel_launch.checks import Finding
from automodel_launch.checks import data as data_checks
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, write_pair

MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A recipe that trains as recipes/pretrain.py does, with two prefixes of 300 and 30 tokens."""
    made = make_bench(tmp_path).trains()
    (made.workspace.recipes / "pretrain_lib").mkdir()
    (made.workspace.recipes / "pretrain_lib" / "x.py").write_text("")
    text = (made.workspace.recipes / "stub.py").read_text()
    made.workspace.recipes.joinpath("stub.py").write_text(
        text.replace('# backend = "automodel"', '# backend = "automodel"\n# code = ["pretrain_lib"]')
    )
    write_pair(made.root / "web", [1] * 300)
    write_pair(made.root / "code", [1] * 30)
    return made


def _plan(bench: Bench, phases: Any, *texts: str, **sections: Any) -> Plan:
    dataset = {"_target_": MEGATRON, "splits_to_build": "train", "index_mapping_dir": "${run.dir}/i", "seq_length": 4}
    scheduler = {"max_steps": 10, "global_batch_size": 2}
    config = {"step_scheduler": scheduler, "dataset": {**dataset, "phases": phases}, **sections}
    return bench.planned(json.dumps(config), *texts)


def _found(plan: Plan, *codes: str) -> list[Finding]:
    return [finding for check in checks.CHECKS for finding in check(plan) if finding.code in codes]


def _phases(bench: Bench, first: Any = 6) -> dict[str, Any]:
    web, code = str(bench.root / "web"), str(bench.root / "code")
    return {"web": {"steps": first, "paths": [web]}, "mix": {"paths": {"train": ["0.5", web, "0.5", code]}}}


DATA = ("data-phases", "no-data", "bad-blend", "no-split", "unknown-key", "missing-key", "wrong-type", "num-samples")


def test_phases_that_fit_the_run(bench: Bench) -> None:
    plan = _plan(bench, _phases(bench))
    assert _found(plan, *DATA) == [f for f in _found(plan, "missing-key") if "dataset" not in f.message]
    rows = [text for _, text in sizes.of(plan, True).rows]
    assert rows == ["web: steps 0 to 5, 48 tokens", "mix: steps 6 to 9, 32 tokens"]
    assert sizes.of(plan, True).data_tokens == 330


def test_epochs_are_those_of_the_whole_run_and_told_by_phase(bench: Bench) -> None:
    plan = _plan(bench, _phases(bench, 1), "step_scheduler.max_steps=40")
    assert sizes.of(plan, True).epochs == pytest.approx(39 * 8 / 2 / 30)
    assert sizes.of(plan, True).rows[-1][1].endswith("5.2 epochs of its data")
    (finding,) = _found(plan, "epochs")
    assert finding.level == "warning" and "dataset.phases: {web, mix}" in finding.message
    assert finding.fix == "more data", "a shorter run would not be as long as its phases"


@pytest.mark.parametrize(("length", "fits"), [(29, True), (30, False)])
def test_a_prefix_holds_a_sample_at_least(bench: Bench, length: int, fits: bool) -> None:
    found = _found(_plan(bench, _phases(bench), f"dataset.seq_length={length}"), "data-phases")
    assert fits is not bool(found)
    assert all("dataset.phases.mix.paths" in one.message and "holds 30 tokens" in one.message for one in found)


def test_the_length_is_none_of_what_is_learnt(bench: Bench) -> None:
    plan = _plan(bench, _phases(bench))
    assert "step_scheduler.max_steps" in pace_.of(plan.config).free and not pace_.of(plan.config).bound


@pytest.mark.parametrize(
    ("change", "said", "fix"),
    [
        ({"mix": {"steps": 5, "paths": ["/d"]}}, "11 steps in all", "step_scheduler.max_steps=11"),
        ({"mix": {"steps": 5}}, "dataset.phases.mix", "dataset.phases.mix.paths=/data/blend.json"),
        ({"mix": {"steps": 4, "paths": ["/d"]}, "a b": {"paths": ["/d"]}}, "letters", "another name"),
    ],
)
def test_what_does_not_fit(bench: Bench, change: dict[str, Any], said: str, fix: str) -> None:
    (finding,) = _found(_plan(bench, {**_phases(bench), **change}), "data-phases")
    assert finding.level == "error" and finding.fix is not None
    assert said in finding.message and "stub/t.yaml" in finding.message and fix in finding.fix


def test_what_cannot_stand_beside_them(bench: Bench) -> None:
    phases = _phases(bench)
    texts = ("+dataset.paths=/d", "+dataloader.dataloader_type=cyclic", "+dataset.num_train_samples=5")
    found = _found(_plan(bench, phases, *texts), "data-phases")
    assert [finding.level for finding in found] == ["error", "error", "note"]
    assert [finding.fix for finding in found][:2] == ["~dataset.paths", "dataloader.dataloader_type=single"]
    assert not _found(_plan(bench, phases, "+dataset.paths=null"), *DATA[:5])
    of_validation = _plan(bench, None, validation_dataset={"_target_": MEGATRON, "phases": phases})
    assert "only `dataset`" in _found(of_validation, "data-phases")[0].message


def test_another_class_and_another_recipe_have_none(bench: Bench) -> None:
    nano = MEGATRON.replace("megatron_dataset.MegatronPretraining", "nanogpt_dataset.NanogptDataset")
    assert (
        "only MegatronPretraining"
        in _found(_plan(bench, _phases(bench), f"dataset._target_={nano}"), "data-phases")[0].message
    )
    bench.trains()
    assert "does not know phases" in _found(_plan(bench, _phases(bench)), "data-phases")[0].message


def test_data_of_each_phase_are_looked_at(bench: Bench) -> None:
    phases = _phases(bench)
    phases["mix"]["paths"] = {"valid": [str(bench.root / "web")]}
    phases["web"]["paths"] = [str(bench.root / "gone")]
    found = _found(_plan(bench, phases), "no-data", "no-split")
    assert {finding.code for finding in found} == {"no-data", "no-split"}
    assert "dataset.phases.web.paths" in found[0].message
    assert "dataset.phases.mix.paths has valid only" in found[1].message


def test_a_phase_to_come_may_change_and_one_that_has_begun_may_not(bench: Bench) -> None:
    begun = _plan(bench, _phases(bench))
    other = _phases(bench)
    other["mix"]["paths"] = [str(bench.root / "code")]
    now = _plan(bench, other, checkpoint={"checkpoint_dir": "${run.dir}/checkpoints"})
    assert begun.data["digest"] != now.data["digest"]
    assert [form for form, _ in now.data["named"]] == ["megatron@0", "megatron@6"]
    run = Path(now.run_dir)
    run.mkdir(parents=True)
    (run / "data.json").write_text(json.dumps(begun.data))
    directory = backends.of(now.recipe).checkpoint_dir(now.config, now.run_dir)
    assert directory
    levels = []
    for step in (None, 5, 6):
        if step is not None:
            Path(directory, f"epoch_0_step_{step}").mkdir(parents=True)
        levels += [finding.level for finding in data_checks.same_data(now)]
    assert levels == ["note", "note", "error"]
    message = data_identity.compare(begun.data, _plan(bench, _phases(bench, 5)).data)
    assert len(set(message)) == len(message)
