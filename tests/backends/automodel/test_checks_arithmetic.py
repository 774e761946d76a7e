"""Arithmetic of sizes, batches and schedules: for each rule a fault, and its nearest valid neighbour."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.backends.automodel import checkpoints
from automodel_launch.checks import Finding, storage
from automodel_launch.checks.places import slurm as cluster
from automodel_launch.plan.describe import divisors
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import disk
from automodel_launch.remote.probes import Result
from tests.workbench import Bench, make_bench, write_pair, write_shard

LLAMA = {
    "_target_": "transformers.LlamaConfig",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 128,
}
MOE = {
    **LLAMA,
    "_target_": "transformers.Qwen3MoeConfig",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
BASE: dict[str, Any] = {
    "step_scheduler": {"global_batch_size": 16, "local_batch_size": 2, "max_steps": 100, "ckpt_every_steps": 50},
    "distributed": {"tp_size": 1},
    "model": {"_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_config", "config": LLAMA},
    "dataset": {"_target_": "a.b.Some", "seq_length": 32},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
    "lr_scheduler": {"lr_decay_style": "cosine", "lr_warmup_steps": 10, "lr_decay_steps": 100, "min_lr": 1e-4},
}
HELD_OUT = "+validation_dataset={{_target_: a.MegatronPretraining, splits_to_build: validation, num_val_samples: {}}}"
PIPE = "+distributed.pipeline={pp_schedule: 1f1b, pp_microbatch_size: 1}"
SIX_HEADS = ["model.config.num_attention_heads=6", "model.config.num_key_value_heads=6"]
QWEN3 = "model.config._target_=transformers.Qwen3Config"
MOE_MODEL = f"model.config={json.dumps(MOE)}"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _plan(bench: Bench, ranks: int, *texts: str) -> Plan:
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in BASE.items())
    return bench.planned(lines, f"run.env.nproc_per_node={ranks}", *texts)


def _found(plan: Plan, code: str) -> list[Finding]:
    return [finding for finding in checks.run(plan) if finding.code == code]


def test_the_base_has_no_findings_but_its_tokens(bench: Bench) -> None:
    found = [f for f in checks.run(_plan(bench, 2)) if f.level != "note"]
    assert found == []


# code, level, ranks, overrides of the fault, overrides of its valid neighbour, words of the message
RULES: list[tuple[str, str, int, list[str], list[str], list[str]]] = [
    ("batch-math", "error", 2, ["step_scheduler.global_batch_size=18"], ["step_scheduler.global_batch_size=20"],
     ["global_batch_size = 18", "override", "local_batch_size = 2", "2 data-parallel ranks = 4", "16 or 20"]),
    ("batch-math", "error", 8, ["step_scheduler.local_batch_size=4"], ["step_scheduler.local_batch_size=2"],
     ["global_batch_size = 16", "stub/t.yaml:1", "step_scheduler.local_batch_size=2"]),
    ("batch-math", "error", 8, ["+distributed.strategy=ddp", "step_scheduler.global_batch_size=24"],
     ["+distributed.strategy=ddp", "step_scheduler.global_batch_size=32"], ["8 data-parallel ranks"]),
    ("batch-math", "error", 8, ["+distributed.cp_size=2", "step_scheduler.local_batch_size=8"],
     ["+distributed.cp_size=2", "step_scheduler.local_batch_size=4"], ["4 data-parallel ranks"]),
    ("no-validation-batch", "warning", 2, [HELD_OUT.format(3)], [HELD_OUT.format(4)],
     ["is less", "= 4", "no validation loss"]),
    ("not-positive", "error", 2, ["step_scheduler.local_batch_size=0"], ["step_scheduler.local_batch_size=1"], ["= 0"]),
    ("not-positive", "error", 2, ["+step_scheduler.val_every_steps=0"], ["+step_scheduler.val_every_steps=null"],
     ["val_every_steps = 0", "~step_scheduler.val_every_steps"]),
    ("not-positive", "error", 2, ["step_scheduler.ckpt_every_steps=-1"], ["step_scheduler.ckpt_every_steps=1"], []),
    ("not-positive", "error", 2, ["step_scheduler.max_steps=0"], ["step_scheduler.max_steps=100"], []),
    ("not-positive", "error", 2, ["dataset.seq_length=0"], ["dataset.seq_length=1"], ["dataset.seq_length = 0"]),
    ("not-positive", "error", 2, ["+clip_grad_norm={max_norm: -1.0}"], ["+clip_grad_norm={max_norm: .inf}"],
     ["reverses all gradients"]),
    ("not-positive", "warning", 2, ["+clip_grad_norm={max_norm: 0}"], ["+clip_grad_norm={max_norm: null}"],
     ["nothing is learnt"]),
    ("world-size", "error", 6, ["distributed.tp_size=4"],
     ["distributed.tp_size=2", "step_scheduler.global_batch_size=24"],
     ["tp_size = 4", "tp 4 x cp 1 x pp 1 = 4", "world size 6", "4 or 8"]),
    ("world-size", "error", 2, ["distributed.tp_size=4"], ["distributed.tp_size=2"], ["world size of 4 ("]),
    ("world-size", "error", 8, ["+distributed.dp_size=4"], ["+distributed.dp_size=8"], ["dp_size = 4", "dp_size=8"]),
    ("dp-replicate", "error", 8, ["+distributed.dp_replicate_size=3"], ["+distributed.dp_replicate_size=2"],
     ["8 data-parallel ranks", "1, 2, 4"]),
    ("dp-replicate", "error", 8, ["+distributed.dp_replicate_size=8"], ["+distributed.dp_replicate_size=4"], []),
    ("expert-parallel", "error", 4, [MOE_MODEL, "+distributed.ep_size=8"], [MOE_MODEL, "+distributed.ep_size=4"],
     ["4 ranks", "1, 2, 4"]),
    ("expert-parallel", "error", 3, [MOE_MODEL, "+distributed.ep_size=3", "step_scheduler.global_batch_size=24"],
     [MOE_MODEL, "+distributed.ep_size=1", "step_scheduler.global_batch_size=24"], ["8 experts", "ep_size = 1"]),
    ("expert-parallel", "error", 12, [MOE_MODEL, "+distributed.ep_size=3", "step_scheduler.global_batch_size=24"],
     [MOE_MODEL, "+distributed.ep_size=4", "step_scheduler.global_batch_size=24"], ["8 experts", "ep_size = 1, 2, 4"]),
    ("expert-parallel", "error", 2, ["+distributed.ep_size=2"], [MOE_MODEL, "+distributed.ep_size=2"], ["no experts"]),
    ("heads", "error", 2, ["model.config.hidden_size=200", *SIX_HEADS], ["model.config.hidden_size=204", *SIX_HEADS],
     ["hidden_size = 200", "num_attention_heads = 6", "198 or 204", "model.config"]),
    ("heads", "error", 2, ["model.config.hidden_size=200", "+model.config.head_dim=32", *SIX_HEADS],
     [QWEN3, "model.config.hidden_size=200", "+model.config.head_dim=32", *SIX_HEADS], ["198 or 204"]),
    ("heads", "error", 2, [MOE_MODEL, "model.config.hidden_size=200", *SIX_HEADS],
     [MOE_MODEL, "model.config.hidden_size=196", *SIX_HEADS], ["hidden_size = 200"]),
    ("tensor-parallel", "error", 8, ["distributed.tp_size=8"], ["distributed.tp_size=4"],
     ["num_key_value_heads = 4", "model.config", "1, 2, 4"]),
    ("tensor-parallel", "error", 3, ["distributed.tp_size=3", "model.config.num_key_value_heads=3"],
     ["distributed.tp_size=1", "step_scheduler.global_batch_size=24"], ["num_attention_heads = 8"]),
    ("pipeline", "error", 2, ["+distributed.pp_size=2"], ["+distributed.pp_size=2", PIPE], ["pipeline", "pp_schedule"]),
    ("pipeline", "error", 4, ["+distributed.pp_size=4", PIPE],
     ["+distributed.pp_size=4", PIPE, "step_scheduler.local_batch_size=4"], ["2 microbatches", "local_batch_size=4"]),
    ("pipeline", "error", 2,
     ["+distributed.pp_size=2", "+distributed.pipeline={pp_microbatch_size: 3}", "step_scheduler.local_batch_size=8"],
     ["+distributed.pp_size=2", "+distributed.pipeline={pp_microbatch_size: 4}", "step_scheduler.local_batch_size=8"],
     ["does not divide", "1, 2, 4, 8"]),
    ("pipeline", "error", 8, ["+distributed.pp_size=8", PIPE, "step_scheduler.local_batch_size=8"],
     ["+distributed.pp_size=4", PIPE, "step_scheduler.local_batch_size=8"], ["6 layers", "pp_size=6"]),
    ("pipeline", "error", 4,
     ["+distributed.pp_size=4", "+distributed.pipeline={layers_per_stage: 1}", "step_scheduler.local_batch_size=4"],
     ["+distributed.pp_size=2", "+distributed.pipeline={layers_per_stage: 3}", "step_scheduler.local_batch_size=4"],
     ["6 stages", "layers_per_stage=2"]),
    ("pipeline", "note", 2, [PIPE], [], ["ignores"]),
    ("strategy", "error", 2, ["+distributed.strategy=ddp", "distributed.tp_size=2"],
     ["+distributed.strategy=ddp"], ["tp_size = 2", "fsdp2"]),
    ("strategy", "error", 2, [MOE_MODEL, "+distributed.strategy=megatron_fsdp", "+distributed.ep_size=2"],
     ["+distributed.strategy=megatron_fsdp", "distributed.tp_size=2"], ["ep_size = 2"]),
    ("lr-style", "error", 2, ["lr_scheduler.lr_decay_style=WSD", "+lr_scheduler.lr_wsd_decay_style=linear"],
     ["lr_scheduler.lr_decay_style=WSD", "+lr_scheduler.lr_wsd_decay_style=linear", "+lr_scheduler.wsd_decay_steps=10"],
     ["wsd_decay_steps"]),
    ("lr-style", "error", 2, ["lr_scheduler.lr_decay_style=WSD", "+lr_scheduler.wsd_decay_steps=10"],
     ["lr_scheduler.lr_decay_style=WSD", "+lr_scheduler.wsd_decay_steps=10", "+lr_scheduler.lr_wsd_decay_style=cosine"],
     ["lr_wsd_decay_style"]),
    ("lr-range", "error", 2, ["lr_scheduler.min_lr=0.01"], ["lr_scheduler.min_lr=0.001"],
     ["min_lr = 0.01", "lr = 0.001"]),
    ("lr-range", "error", 2, ["+lr_scheduler.init_lr=0.01"], ["+lr_scheduler.init_lr=0.0"], ["init_lr = 0.01"]),
    ("lr-range", "error", 2, ["lr_scheduler.min_lr=-0.1"], ["lr_scheduler.min_lr=0.0"], ["negative"]),
    ("lr-length", "error", 2, ["lr_scheduler.lr_warmup_steps=100"], ["lr_scheduler.lr_warmup_steps=99"],
     ["lr_warmup_steps = 100", "lr_decay_steps = 100"]),
    ("lr-length", "error", 2, ["lr_scheduler.lr_warmup_steps=100", "~lr_scheduler.lr_decay_steps"],
     ["lr_scheduler.lr_warmup_steps=50", "~lr_scheduler.lr_decay_steps"], ["derived from step_scheduler.max_steps"]),
    ("lr-length", "warning", 2, ["lr_scheduler.lr_decay_steps=75"], ["lr_scheduler.lr_decay_steps=100"],
     ["the last 25 %", "lr_decay_steps=100"]),
    ("lr-length", "note", 2, ["lr_scheduler.lr_decay_steps=400"], ["lr_scheduler.lr_decay_steps=100"], ["longer"]),
    ("no-end", "error", 2, ["dataset={_target_: a.NanogptDataset, file_pattern: /x, seq_len: 8}",
                            "step_scheduler.max_steps=null"],
     ["step_scheduler.max_steps=null", "+step_scheduler.num_epochs=1"], ["max_steps (not given)", "never stops"]),
    ("cadence", "warning", 2, ["step_scheduler.ckpt_every_steps=101", "+checkpoint={checkpoint_dir: /x}"],
     ["step_scheduler.ckpt_every_steps=100", "+checkpoint={checkpoint_dir: /x}"], ["only checkpoint", "=25"]),
    ("cadence", "warning", 2, ["+step_scheduler.val_every_steps=101", "+validation_dataset={_target_: a.B}"],
     ["+step_scheduler.val_every_steps=100", "+validation_dataset={_target_: a.B}"], ["val_every_steps = 101"]),
    ("cadence", "note", 2, ["+step_scheduler.val_every_steps=10"],
     ["+step_scheduler.val_every_steps=10", "+validation_dataset={_target_: a.B}"], ["validation_dataset"]),
    ("num-samples", "error", 2, ["+dataset.num_train_samples=1599"], ["+dataset.num_train_samples=1600"],
     ["num_train_samples = 1599", "= 1600"]),
    ("many-checkpoints", "warning", 2,
     ["step_scheduler.max_steps=101", "step_scheduler.ckpt_every_steps=1", "+checkpoint={checkpoint_dir: /x}"],
     ["step_scheduler.max_steps=101", "step_scheduler.ckpt_every_steps=1",
      "+checkpoint={checkpoint_dir: /x, max_recent_checkpoints: 3}"], ["101 checkpoints", "max_recent_checkpoints"]),
    ("bad-value", "error", 2, ["+model.torch_dtype=float16"], ["+model.torch_dtype=float16", "+optimizer.fused=true"],
     ["eps = 1e-08 is 0", "model.torch_dtype=float32"]),
    ("bad-value", "error", 2, ["+model.dtype=torch.float16", "+optimizer.foreach=true", "+peft={_target_: a.B}"],
     ["+model.dtype=torch.float16", "+peft={_target_: a.B, lora_dtype: float32}"], ["model.dtype=float32"]),
    ("bad-value", "error", 2, ["+model.torch_dtype=half", "+optimizer.eps=2e-8"],
     ["+model.torch_dtype=half", "+optimizer.eps=1e-4"], ["eps = 2e-08 is 0"]),
    ("missing-key", "error", 2, ["+qat={enabled: true}"], ["+qat={enabled: false}"], ["without quantization"]),
    ("not-held-out", "warning", 2, ["+validation_dataset={_target_: a.b.Some, paths: /x}", "+dataset.paths=/x"],
     ["+validation_dataset={_target_: a.b.Some, paths: /x, split: 'train[9:]'}", "+dataset.paths=/x"],
      ["a file of its"]),
    ("not-held-out", "warning", 2, ["+dataset={_target_: a.MegatronPretraining, paths: /x, splits_to_build: train}",
      "+validation_dataset={_target_: a.MegatronPretraining, paths: /x, splits_to_build: train, num_val_samples: 8}"],
     ["+dataset={_target_: a.Some, paths: /x}", HELD_OUT.format(8)], ["validation_dataset.splits_to_build=validation"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "level", "ranks", "fault", "valid", "words"), RULES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_fault_and_its_neighbour(
    bench: Bench, code: str, level: str, ranks: int, fault: list[str], valid: list[str], words: list[str]
) -> None:
    found = _found(_plan(bench, ranks, *fault), code)
    assert [finding.level for finding in found] == [level], found
    assert found[0].fix
    for word in words:
        assert word in f"{found[0].message} {found[0].fix}"
    neighbour = _plan(bench, ranks, *valid)
    assert _found(neighbour, code) == []
    assert [finding for finding in checks.run(neighbour) if finding.level == "error"] == []


def test_an_evaluation_takes_no_step(bench: Bench) -> None:
    """Its optimizer is built and never used, its `dataset` never read."""
    same = [f"+{key}={{_target_: a.Some, paths: /x}}" for key in ("dataset", "validation_dataset")]
    plan = _plan(bench, 2, "+model.torch_dtype=float16", *same)
    codes = ("bad-value", "not-held-out")
    assert [len(_found(plan, code)) for code in codes] == [1, 1]
    plan = replace(plan, recipe=replace(plan.recipe, name="evaluate"))
    assert [_found(plan, code) for code in codes] == [[], []]


def test_all_faults_are_said_at_once(bench: Bench) -> None:
    texts = ["distributed.tp_size=8", "lr_scheduler.lr_decay_style=WSD", "step_scheduler.global_batch_size=0"]
    codes = {finding.code for finding in checks.run(_plan(bench, 8, *texts)) if finding.level == "error"}
    assert {"tensor-parallel", "lr-style", "not-positive"} <= codes


@pytest.mark.parametrize(
    "key",
    ["step_scheduler.global_batch_size", "step_scheduler.max_steps", "distributed.tp_size", "lr_scheduler.min_lr",
     "lr_scheduler.lr_warmup_steps", "lr_scheduler.lr_decay_style", "model.config.num_attention_heads"],
)  # fmt: skip
def test_what_only_the_job_knows_is_not_judged(bench: Bench, key: str) -> None:
    plan = _plan(bench, 3, "step_scheduler.global_batch_size=24", f"{key}=${{oc.env:SLURM_NNODES}}")
    found = [finding.code for finding in checks.run(plan) if finding.level != "note"]
    assert found == ["not-forwarded"], "Slurm's number of nodes, on a machine without Slurm"


def test_a_config_that_is_none_of_automodels_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    text = "step_scheduler: 5\nlr_scheduler: 3\nmodel: [1]\n"
    assert [f.code for f in checks.run(bench.planned(text))] == ["not-checked"]
    assert [f.code for f in checks.run(make_bench(tmp_path / "plain").planned(text))] == []


def test_tokens_are_said(bench: Bench) -> None:
    (found,) = _found(_plan(bench, 2), "tokens")
    assert found.level == "note"
    assert "16 sequences x 32 tokens = 512 tokens a step (2 data-parallel ranks x 2 x 4 accumulated)" in found.message
    assert "100 steps = 51,200 tokens" in found.message


# --- epochs


def _megatron(folder: Path, name: str, tokens: int) -> str:
    return write_pair(folder / name, [0] * tokens)


def _nano(folder: Path, name: str, tokens: int) -> str:
    return write_shard(folder / f"{name}.bin", [0] * tokens)


def _epochs(bench: Bench, section: dict[str, Any]) -> list[Finding]:
    return _found(_plan(bench, 2, f"dataset={json.dumps(section)}"), "epochs")


MEGATRON = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
NANOGPT = "nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset"


@pytest.mark.parametrize(
    ("make", "level", "words"),
    [
        (lambda d: {"paths": {"train": [_megatron(d, "a", 51_200)]}}, None, ""),
        (lambda d: {"paths": {"train": [_megatron(d, "a", 25_600)]}}, "note", "2.0 epochs"),
        (lambda d: {"paths": {"train": [_megatron(d, "a", 5_120)]}}, "warning", "10.0 epochs"),
        (lambda d: {"paths": _megatron(d, "a", 51_200)}, "note", "1.1 epochs"),  # split: 900,50,50
        (lambda d: {"paths": [_megatron(d, "a", 51_200)], "split": "1,0,0"}, None, ""),
        (lambda d: {"paths": [_megatron(d, "a", 51_200)], "split": "0,1,1"}, None, ""),
        (
            lambda d: {"paths": {"train": ["0.9", _megatron(d, "a", 4_608), "0.1", _megatron(d, "b", 100_000)]}},
            "warning",
            "10.0 epochs (most often",
        ),
        (lambda d: {"paths": {"train": ["0.1", _megatron(d, "a", 5_120), "0.9", _megatron(d, "b", 99_999)]}}, None, ""),
        (lambda d: {"paths": {"train": [str(d / "gone")]}}, None, ""),
    ],
)
def test_epochs_of_megatron_data(
    bench: Bench, tmp_path: Path, make: Callable[[Path], dict[str, Any]], level: str | None, words: str
) -> None:
    found = _epochs(bench, {"_target_": MEGATRON, "seq_length": 32, **make(tmp_path)})
    assert [finding.level for finding in found] == ([level] if level else [])
    assert all(words in finding.message and "51,200 tokens" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("split", "times"), [("9,1,0", ["3.1"]), ("1,1,999998", ["312500.0"]), ("9,0,1", []), ("1", [])]
)
def test_how_often_an_evaluation_reads_its_part(bench: Bench, tmp_path: Path, split: str, times: list[str]) -> None:
    """A split may leave nothing for it, which is no number to divide by."""
    section = {"_target_": MEGATRON, "seq_length": 32, "splits_to_build": "validation", "num_val_samples": 100}
    section |= {"paths": [_megatron(tmp_path, "a", 10_240)], "split": split}
    plan = _plan(bench, 2, f"+validation_dataset={json.dumps(section)}")
    plan = replace(plan, recipe=replace(plan.recipe, name="evaluate"))
    told = [one.message.partition("it is read ")[2] for one in _found(plan, "held-out-repeats")]
    assert told == [f"{number} times." for number in times]


def test_an_evaluation_is_told_nothing_of_a_training(bench: Bench, tmp_path: Path) -> None:
    """It takes no step: neither how often training data would be read, nor the rate of a first step."""
    section = {"_target_": MEGATRON, "seq_length": 32, "paths": [_megatron(tmp_path, "a", 320)]}
    weights = {
        "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
        "pretrained_model_name_or_path": str(tmp_path),
    }
    plan = _plan(bench, 2, f"dataset={json.dumps(section)}", f"model={json.dumps(weights)}", "~lr_scheduler")
    assert {one.code for one in checks.run(plan)} >= {"epochs", "continued"}
    plan = replace(plan, recipe=replace(plan.recipe, name="evaluate"))
    assert not {one.code for one in checks.run(plan)} & {"epochs", "continued"}


def test_epochs_of_a_blend_in_a_file(bench: Bench, tmp_path: Path) -> None:
    blend = tmp_path / "blend.json"
    blend.write_text(json.dumps({"train": ["1.0", _megatron(tmp_path, "a", 10_240)]}))
    (found,) = _epochs(bench, {"_target_": MEGATRON, "seq_length": 32, "paths": str(blend)})
    assert "5.0 epochs" in found.message
    assert "max_steps=20" in (found.fix or "")


def test_epochs_of_nanogpt_data(bench: Bench, tmp_path: Path) -> None:
    _nano(tmp_path, "a", 20_000)
    _nano(tmp_path, "b", 5_600)
    section = {"_target_": NANOGPT, "seq_len": 32, "file_pattern": str(tmp_path / "*.bin")}
    (found,) = _epochs(bench, section)
    assert "2.0 epochs" in found.message
    _nano(tmp_path, "c", 30_000)
    assert _epochs(bench, section) == []


@pytest.mark.parametrize(("files", "ranks", "workers", "whole"), [
    (1, 8, 0, True), (2, 2, 0, False), (4, 2, 0, True), (5, 2, 0, True), (4, 2, 2, False), (8, 2, 2, True),
])  # fmt: skip
def test_nanogpt_files_and_readers(
    bench: Bench, tmp_path: Path, files: int, ranks: int, workers: int, whole: bool
) -> None:
    for number in range(files):
        _nano(tmp_path, f"f{number}", 600)
    section = {"_target_": NANOGPT, "seq_len": 32, "file_pattern": str(tmp_path / "*.bin")}
    plan = _plan(bench, ranks, f"dataset={json.dumps(section)}", f"+dataloader={{num_workers: {workers}}}")
    found = _found(plan, "nanogpt-files")
    assert [finding.level for finding in found] == ([] if whole else ["warning"])
    assert whole or f"{files} files for {ranks * max(1, workers)} readers" in found[0].message


def test_nanogpt_data_and_parallel_models(bench: Bench, tmp_path: Path) -> None:
    _nano(tmp_path, "a", 600)
    section = {"_target_": NANOGPT, "seq_len": 32, "file_pattern": str(tmp_path / "*.bin")}
    data = f"dataset={json.dumps(section)}"
    assert _found(_plan(bench, 2, data), "nanogpt-parallel") == []
    (found,) = _found(_plan(bench, 2, data, "distributed.tp_size=2"), "nanogpt-parallel")
    assert (found.level, "tp_size = 2" in found.message) == ("error", True)
    assert _found(_plan(bench, 2, "distributed.tp_size=2"), "nanogpt-parallel") == []


# --- room for checkpoints


SAVES = "+checkpoint={checkpoint_dir: '${run.dir}/checkpoints', save_consolidated: false}"


def _room(bench: Bench, free: int | None, inodes: int | None, *texts: str) -> list[Finding]:
    plan = _plan(bench, 2, SAVES, *texts)
    return list(storage.room(plan, disk.Disk(plan.job_root, "/base", None, free, inodes)))


def _checkpoint_bytes(plan: Plan) -> int:
    found = checkpoints.of(plan)
    assert found and found.bytes
    return found.bytes


def test_room_for_checkpoints(bench: Bench) -> None:
    size = 6 * _checkpoint_bytes(_plan(bench, 2, SAVES)) // 6
    assert _room(bench, 2 * size, None) == []
    (tight,) = _room(bench, 2 * size - 1, None)
    assert (tight.level, tight.code) == ("warning", "disk-space")
    assert "2 checkpoints" in tight.message
    (full,) = _room(bench, size - 1, None)
    assert full.level == "error"
    assert _room(bench, None, 76) == []
    (inodes,) = _room(bench, None, 75)
    assert (inodes.level, inodes.code) == ("warning", "disk-inodes")


def test_fewer_checkpoints_need_less(bench: Bench) -> None:
    size = _checkpoint_bytes(_plan(bench, 2, SAVES))
    every = "step_scheduler.ckpt_every_steps=1"
    assert _room(bench, 10 * size, None, every)
    assert _room(bench, 10 * size, None, every, "+checkpoint.max_recent_checkpoints=3") == []


def test_an_export_in_each_checkpoint_takes_its_room(bench: Bench) -> None:
    last, each = (checkpoints.of(_plan(bench, 2, SAVES.replace("false", value))) for value in ("final", "every"))
    assert last and last.bytes and each and each.bytes
    assert (each.bytes, each.export_bytes) == (last.bytes + last.export_bytes, 0) and last.export_bytes


def test_of_adapters_they_alone_are_saved(bench: Bench) -> None:
    """Room for a hundredth of the model is enough, and there is no export."""
    peft = "+peft={_target_: nemo_automodel.components._peft.lora.PeftConfig, target_modules: ['*.q_proj'], dim: 1}"
    whole = _checkpoint_bytes(_plan(bench, 2, SAVES))
    found = checkpoints.of(_plan(bench, 2, SAVES.replace("false", "every"), peft))
    assert found and found.bytes and found.bytes < whole / 10 and found.export_bytes == 0
    assert _room(bench, 2 * found.bytes, None, peft) == []


def test_a_disk_that_is_not_the_checkpoints_is_left_alone(bench: Bench) -> None:
    plan = _plan(bench, 2, "+checkpoint={checkpoint_dir: /elsewhere}")
    assert list(storage.room(plan, disk.Disk(plan.job_root, "/base", None, 0, 0))) == []


def test_the_clusters_answer_about_the_job_root_is_used(bench: Bench) -> None:
    """The question that is asked anyway (checks/cluster.py); no second round trip."""
    plan = _plan(bench, 2, "+checkpoint={checkpoint_dir: '${run.dir}/checkpoints'}")
    answer = Result(0, f"{plan.job_root}\n0 4096 1000 1000 lustre\n")
    assert [finding.code for finding in cluster._job_root(plan, answer)] == ["disk-space"]
    answer = Result(0, f"{plan.job_root}\n99999999 4096 1000 1000 lustre\n")
    assert list(cluster._job_root(plan, answer)) == []


@pytest.mark.parametrize("number", [1, 2, 12, 36, 97, 1024, 6144])
@pytest.mark.parametrize("most", [None, 1, 8])
def test_the_divisors_of_a_number(number: int, most: int | None) -> None:
    assert divisors(number, most) == [d for d in range(1, (most or number) + 1) if number % d == 0]


@pytest.mark.parametrize("key", ["global_batch_size", "local_batch_size", "max_steps"])
def test_a_number_beyond_reason_keeps_nobody_waiting(bench: Bench, key: str) -> None:
    assert checks.run(_plan(bench, 3, f"step_scheduler.{key}={'9' * 300}"))
    assert divisors(10**12)[-1] == 10**12
