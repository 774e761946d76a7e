"""Findings about training that goes on with given weights: the course of its rate, and data that are read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.backends.automodel import sizes
from automodel_launch.backends.automodel.checks import continued
from automodel_launch.checks import runs
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, write_pair

MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
MODEL = "nemo_automodel.NeMoAutoModelForCausalLM"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = make_bench(tmp_path).trains()
    write_pair(made.root / "web", [1] * 30)
    return made


def _plan(bench: Bench, schedule: Any, lr: float = 2e-5, how: str = "from_pretrained", **sections: Any) -> Plan:
    dataset = {"_target_": MEGATRON, "splits_to_build": "train", "seq_length": 4, "paths": [str(bench.root / "web")]}
    config = {
        "step_scheduler": {"max_steps": 2000, "global_batch_size": 2},
        "model": {"_target_": f"{MODEL}.{how}", "pretrained_model_name_or_path": "org/model"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": lr},
        "dataset": dataset,
        **({"lr_scheduler": schedule} if schedule is not None else {}),
        **sections,
    }
    return bench.planned(json.dumps(config))


@pytest.mark.parametrize(
    ("schedule", "lr", "levels", "said"),
    [
        ({"lr_warmup_steps": 100}, 2e-5, [], ""),
        ({"lr_decay_style": "cosine"}, 2e-5, [], ""),  # AutoModel's own warm-up
        ({"lr_warmup_steps": 0}, 2e-5, ["warning"], "lr_scheduler.lr_warmup_steps=20"),
        ({"lr_warmup_steps": 100, "init_lr": 2e-5}, 2e-5, ["warning"], "~lr_scheduler.init_lr"),
        (None, 2e-5, ["warning"], "+lr_scheduler.lr_warmup_steps=20"),
        ({"lr_warmup_steps": 100}, 1e-3, ["note"], "optimizer.lr=0.0001"),
        ({"lr_warmup_steps": 0, "max_lr": 1e-3}, 2e-5, ["warning", "note"], "lr_scheduler.max_lr=0.0001"),
    ],
)
def test_the_course_of_the_rate(bench: Bench, schedule: Any, lr: float, levels: list[str], said: str) -> None:
    found = list(continued.rates(_plan(bench, schedule, lr)))
    assert [finding.level for finding in found] == levels
    assert all("org/model" in finding.message for finding in found)
    assert not said or said in str(found[-1].fix)


def test_the_plan_says_with_which_weights_it_begins(bench: Bench) -> None:
    told = [sizes.of(_plan(bench, None, how=how), False).begins for how in ("from_pretrained", "from_config", "other")]
    assert told == ["with the weights of org/model", "with random weights", None]
    restored = _plan(bench, None, checkpoint={"restore_from": "/x/epoch_0_step_9"})
    assert sizes.of(restored, False).begins == "with the checkpoint /x/epoch_0_step_9"


def test_random_weights_adapters_and_conversations_are_no_such_training(bench: Bench) -> None:
    none = {"lr_warmup_steps": 0}
    assert not list(continued.rates(_plan(bench, none, 1e-3, "from_config")))
    assert not list(continued.rates(_plan(bench, none, 1e-3, peft={"_target_": "x.Y"})))
    chat = {"_target_": f"{MEGATRON.partition('.llm.')[0]}.llm.chat_dataset.ChatDataset", "path_or_dataset_id": "/d"}
    assert not list(continued.rates(_plan(bench, none, 1e-3, dataset=chat)))


def test_the_data_of_the_run_that_it_begins_from(bench: Bench, tmp_path: Path) -> None:
    plan = _plan(bench, {"lr_warmup_steps": 100})
    former = tmp_path / "former"
    former.mkdir()
    origin = {"run_name": "former", "run_dir": str(former), "path": "org/model", "checkpoint": "x", "may_go": False}
    assert plan.data["digest"]
    for digest, codes in ((plan.data["digest"], ["data-again"]), ("other", [])):
        (former / "data.json").write_text(json.dumps({"digest": digest, "rows": []}))
        assert [finding.code for finding in runs.reads_again(replace(plan, origin=origin))] == codes
    (former / "data.json").write_text(json.dumps({"digest": plan.data["digest"], "rows": []}))
    assert not list(runs.reads_again(plan))
    evaluated = replace(plan, origin={**origin, "path": "/checkpoints/epoch_0_step_9"})  # what it loads is another
    assert not list(runs.reads_again(evaluated))
