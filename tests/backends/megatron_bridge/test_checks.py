"""Findings that tests/faults/ has no launch for, and what comes close to a fault and is none."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.backends.megatron_bridge import keys
from automodel_launch.frozen import thaw
from tests.backends.megatron_bridge.bridge_bench import BACKEND, codes, found, plan
from tests.workbench import Bench, make_bench

MOCK = "dataset: {mock: true}\n"
QWEN = f"recipe: qwen3_600m_pretrain_config\n{MOCK}checkpoint: {{save: HERE}}\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("checks"))


@pytest.fixture
def qwen(tmp_path: Path) -> str:
    return QWEN.replace("HERE", str(tmp_path))


def _levels(bench: Bench, text: str, *texts: str) -> list[tuple[str, str]]:
    return [one for one in codes(bench, text, *texts) if one[1] not in ("other-backend",)]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([], []),
        (["+mode=finetune", "+checkpoint.pretrained_checkpoint=s3://b/w"], [("warning", "mode")]),
        (
            ["recipe=qwen3_vl_8b_pretrain_config", "~dataset", "+model.tensor_model_parallel_size=1"],
            [("warning", "step-function")],
        ),
        (
            [
                "recipe=qwen3_vl_8b_pretrain_config",
                "~dataset",
                "+model.tensor_model_parallel_size=1",
                "+step_func=vlm_step",
            ],
            [],
        ),
        (["recipe=my.own.recipe_config"], [("note", "not-checked"), ("warning", "mode")]),
        (["recipe=my.own.recipe_pretrain_config"], [("note", "not-checked")]),
        (["+step_func=my.own.step"], []),
        (["+checkpoint.ckpt_format=fsdp_dtensor", "+ddp.use_megatron_fsdp=true"], []),
        (["+ddp.use_megatron_fsdp=true"], [("error", "bad-value")]),
        (["checkpoint.save=null"], [("warning", "checkpoint-dir")]),
        (["+checkpoint.load=null"], [("warning", "resume")]),
        (["+train.exit_signal=10"], [("warning", "no-save-at-stop")]),
        (["+inprocess_restart.enabled=true"], []),
        (["+train.rampup_batch_size=[32,32,100]", "+train.global_batch_size=64"], []),
        (["+train.rampup_batch_size=[30,2,100]"], [("error", "batch-math")]),
        (["+train.rampup_batch_size=[8,8]"], [("error", "batch-math")]),
        (["+train.global_batch_size=33", "+train.decrease_batch_size_if_needed=true"], []),
        (["+model.num_layers_in_first_pipeline_stage=13", "+model.pipeline_model_parallel_size=2"], []),
        (["+scheduler.lr_warmup_fraction=0.1"], [("error", "lr-length")]),
        (["+scheduler.lr_warmup_fraction=0.1", "+scheduler.lr_warmup_iters=0"], []),
        (["+scheduler.lr_warmup_fraction=1.5", "+scheduler.lr_warmup_iters=0"], [("error", "lr-length")]),
        (["+scheduler.lr_warmup_samples=10"], [("error", "lr-length")]),
        (["+scheduler.lr_decay_iters=400000"], [("note", "lr-length")]),
        (["+scheduler.lr_decay_iters=0"], [("error", "lr-length")]),
        (["+scheduler.lr_decay_iters=1000"], [("warning", "lr-length")]),
        (["+scheduler.lr_decay_iters=1000", "+scheduler.lr_decay_style=constant"], []),
        (["+optimizer.lr=0"], [("error", "lr-range")]),
        (["+train.train_iters=null"], [("error", "no-end")]),
        (["+train.eval_interval=400000"], [("note", "cadence")]),
        (["+train.train_iters=${oc.env:STEPS}"], []),
        (["+hf_configs=/dir"], [("error", "wrong-type")]),
        (["+train=null"], [("error", "wrong-type")]),
        (["+train=3"], [("error", "wrong-type")]),
        (["+mixed_precision=fp8"], [("error", "bad-value")]),
        (["+mixed_precision=bf16-mixed"], []),
        (["+mixed_precision.fp8=hybrid"], []),
        (["+mixed_precision.fp8=3"], [("error", "wrong-type")]),
        (["+ft.enable_ft_package=false"], []),
        (["+peft={_target_: my.own.Adapter, rank: 3}", "+checkpoint.pretrained_checkpoint=s3://b/w"], []),
        (["+checkpoint.pretrained_checkpoint=weights"], [("error", "no-model")]),
        (["+checkpoint.save=~/checkpoints"], [("error", "relative-path")]),
        (["+model.deterministic_mode=true", "+run.env.env_vars.NCCL_ALGO=Ring"], [("error", "bad-value")]),
    ],
)
def test_of_a_recipe_with_one_change(bench: Bench, qwen: str, texts: list[str], wanted: list[tuple[str, str]]) -> None:
    texts = [text.removeprefix("+") if text.startswith("+run.") else text for text in texts]
    assert (
        _levels(replace(bench, environ={**bench.environ, "STEPS": ""}), qwen + "run: {job_env: [STEPS]}\n", *texts)
        == wanted
    )


def test_ft_launcher_and_the_section(bench: Bench, qwen: str) -> None:
    made = plan(bench, qwen, "+ft.enable_ft_package=true", "+inprocess_restart.enabled=true")
    with_ft = replace(made, profile=made.profile.model_copy(update={"launcher": "ft"}))
    told = [(one.level, one.code) for one in BACKEND.checks(with_ft) if one.code == "ft-launcher"]
    assert told == [("note", "ft-launcher"), ("warning", "ft-launcher")]


def test_a_name_that_is_near_is_named(bench: Bench, qwen: str) -> None:
    texts = ["+model.tensor_modle_parallel_size=2", "+logger.wandb_projekt=p", "+lr=3"]
    fixes = " ".join(str(one.fix) for one in found(bench, qwen, *texts) if one.code == "unknown-key")
    for name in ("model.tensor_model_parallel_size", "logger.wandb_project", "optimizer.lr"):
        assert name in fixes


def test_a_recipe_without_values_is_not_judged_by_defaults(bench: Bench, tmp_path: Path) -> None:
    text = f"recipe: my.own.recipe_pretrain_config\ncheckpoint: {{save: {tmp_path}}}\n"
    assert _levels(bench, text) == [("note", "not-checked")]
    sized = "model: {tensor_model_parallel_size: 3, pipeline_model_parallel_size: 1, context_parallel_size: 1}\n"
    assert ("error", "world-size") in _levels(bench, text + sized)
    assert ("error", "unknown-key") in _levels(bench, f"{text}train: {{train_iterz: 3}}\n")


def test_what_is_missing_is_named(bench: Bench, tmp_path: Path) -> None:
    assert ("error", "missing-key") in _levels(bench, "train: {train_iters: 3}\n")
    assert ("error", "wrong-type") in _levels(bench, "recipe: [qwen3_8b_pretrain_config]\n")


def test_data_in_the_config_itself(bench: Bench, tmp_path: Path) -> None:
    text = f"recipe: qwen3_600m_pretrain_config\ncheckpoint: {{save: {tmp_path}}}\n"
    for value, code in (("[/a, /b]", "bad-blend"), ("/a", "bad-blend"), ("[[/none], null]", "no-data")):
        assert code in [one.code for one in found(bench, f"{text}dataset: {{blend: {value}}}\n")]


def test_a_blend_of_a_recipe_that_fine_tunes(bench: Bench) -> None:
    text = "recipe: {_target_: qwen3_8b_sft_config, per_split_data_args_path: /b.json}\n"
    (one,) = [one for one in found(bench, text, world=4) if one.code == "unknown-key"]
    assert "HFDatasetConfig" in one.message


@pytest.mark.parametrize(("rows", "texts", "wanted"), [
    ({"training": 8, "validation": 1, "test": 8}, [], ["validation.jsonl has 1 row,"]),
    ({"training": 7, "validation": 9, "test": 2}, [], ["training.jsonl has 7 rows,", "test.jsonl has 2 rows,"]),
    ({"training": 8, "validation": 8}, [], []),
    ({"training": 8, "validation": 1, "test": 1}, ["+dataset.do_test=false", "+dataset.do_validation=false"], []),
    ({"training": 8, "validation": 1, "test": 1}, ["train.eval_iters=0"], []),
    ({"training": 7}, ["+dataset.dataloader_type=single"], []),
])  # fmt: skip
def test_rows_of_less_than_a_batch(
    bench: Bench, tmp_path: Path, rows: dict[str, int], texts: list[str], wanted: list[str]
) -> None:
    """Megatron-Bridge 0.3.1 hangs there: two ranks on a CPU took all of their cores after the step before."""
    for name, count in rows.items():
        (tmp_path / f"{name}.jsonl").write_text('{"input": "a", "output": "b"}\n' * count)
    text = "recipe: qwen3_8b_sft_config\ntrain: {global_batch_size: 8, micro_batch_size: 1, eval_iters: 1}\n"
    text += "dataset: {_target_: megatron.bridge.training.config.FinetuningDatasetConfig, seq_length: 32,"
    text += f" dataset_root: {tmp_path}}}\ncheckpoint: {{save: {tmp_path}, pretrained_checkpoint: s3://b/w}}\n"
    told = [one.message for one in found(bench, text, *texts) if one.code == "no-whole-batch"]
    assert [words for one, words in zip(told, wanted, strict=True) if words in one] == wanted


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    "",
    "x\0",
    "${oc.env:A}",
    [],
    ["a", ["b"]],
    {},
    {"a": {"b": 1}},
]
KEYS = [
    value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str) and value != keys.TARGET
]


def test_no_value_ends_in_a_traceback(bench: Bench) -> None:
    """Three keys at a time hold what nobody would write; every question of the launcher is answered all the same."""
    made, draw = (
        plan(bench, "recipe: qwen3_30b_a3b_pretrain_config\ndataset: {mock: true}\n", world=8),
        random.Random(7),
    )
    for _ in range(300):
        config = thaw(made.config)
        for key in draw.sample(KEYS, 3):
            *above, leaf = key.split(".")
            section = config
            for part in above:
                section[part] = section.get(part) if isinstance(section.get(part), dict) else {}
                section = section[part]
            section[leaf] = copy.deepcopy(draw.choice(ODD))
        odd = replace(made, config=config)
        found_all = list(BACKEND.checks(odd))
        assert all(one.message for one in found_all)
        asked = BACKEND.max_steps, BACKEND.references, BACKEND.trackers, BACKEND.compiles
        assert [question(odd.config) for question in asked]
        assert BACKEND.data(odd.config, "/r").named is not None
        BACKEND.checkpoints(odd)
        BACKEND.sizes(odd)
