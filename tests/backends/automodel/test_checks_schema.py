"""The training config against the schema of AutoModel: what is refused, what is ignored, and what is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import backends
from automodel_launch.backends.automodel.checks import (
    compiling,
    loading,
    no_effect,
    schema,
    targets,
    training,
    validations,
)
from automodel_launch.checks import Finding, runs
from automodel_launch.config import configs
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace
from tests.conftest import ROOT
from tests.workbench import Bench, make_bench

DATASETS = "nemo_automodel.components.datasets.llm"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains()


def base() -> dict[str, Any]:
    """A small valid config, of its own for each test."""
    return {
        "recipe": "TrainFinetuneRecipeForNextTokenPrediction",
        "seed": 1,
        "step_scheduler": {"global_batch_size": 16, "local_batch_size": 2, "max_steps": 10},
        "dist_env": {"backend": "nccl", "timeout_minutes": 30},
        "distributed": {"strategy": "fsdp2", "tp_size": 1},
        "model": {
            "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_config",
            "torch_dtype": "float32",
            "config": {"_target_": "transformers.LlamaConfig", "num_hidden_layers": 2},
        },
        "dataset": {
            "_target_": f"{DATASETS}.mock_iterable_dataset.MockIterableDataset",
            "vocab_size": 10,
            "seq_len": 8,
        },
        "dataloader": {"num_workers": 0},
        "loss_fn": {"_target_": "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-4, "betas": [0.9, 0.95]},
        "lr_scheduler": {"lr_decay_style": "cosine", "lr_warmup_steps": 1, "min_lr": 0.0},
        "clip_grad_norm": {"max_norm": 1.0},
        "checkpoint": {"enabled": True, "save_consolidated": "final"},
    }


def changed(key: str, value: Any) -> dict[str, Any]:
    """The small config with one key set, also a new one."""
    config = base()
    *parents, leaf = key.split(".")
    node = config
    for part in parents:
        node = node.setdefault(part, {})
    node[leaf] = value
    return config


def found(plan: Plan) -> list[Finding]:
    return [f for module in (runs, loading, schema, targets, training) for check in module.CHECKS for f in check(plan)]


def test_the_small_config_is_valid(bench: Bench) -> None:
    assert found(bench.planned(json.dumps(base()))) == []


FAULTS = [
    # key, value, level, code, words of message and fix
    ("optimzer", {"lr": 1}, "error", "ignored-key", "did you mean optimizer?"),
    ("sead", 3, "error", "ignored-key", "did you mean seed?"),
    ("my_notes", "x", "warning", "ignored-key", "remove it"),
    ("clip_grad_norm.max_nrom", 1.0, "error", "ignored-key", "clip_grad_norm.max_norm"),
    ("dist_env.timeout", 30, "warning", "ignored-key", "timeout_minutes"),
    ("compile.enable", True, "error", "ignored-key", "compile.enabled"),
    ("fp8.recipe", "rowwise", "error", "ignored-key", "recipe_name"),
    ("checkpoint.model_repo_id", "a/b", "warning", "ignored-key", "ignores it without a message"),
    ("step_scheduler.dp_size", 8, "warning", "ignored-key", "step_scheduler.dp_size = 8"),
    ("step_scheduler.max_step", 5, "error", "unknown-key", "step_scheduler.max_steps"),
    ("checkpoint.checkpoint_dirs", "x", "error", "unknown-key", "checkpoint.checkpoint_dir"),
    ("lr_scheduler.warmup_steps", 5, "error", "unknown-key", "lr_scheduler.lr_warmup_steps"),
    ("optimizer.learning_rate", 1e-4, "error", "unknown-key", "torch.optim.AdamW takes no 'learning_rate'"),
    ("optimizer.weigth_decay", 0.1, "error", "unknown-key", "optimizer.weight_decay"),
    ("dataloader.workers", 2, "error", "unknown-key", "dataloader.num_workers"),
    ("mlflow.experiment", "x", "error", "unknown-key", "mlflow.experiment_name"),
    ("wandb.projekt", "x", "error", "unknown-key", "wandb.project"),
    ("loss_fn.ignore_idx", -1, "error", "unknown-key", "loss_fn.ignore_index"),
    ("dataset.seq_length", 8, "error", "unknown-key", "dataset.seq_len"),
    ("distributed.sequence_paralel", True, "error", "unknown-key", "distributed.sequence_parallel"),
    ("distributed.zero_dp_strategy", 3, "error", "unknown-key", "strategy fsdp2 takes no 'zero_dp_strategy'"),
    ("distributed.mp_policy", {"_target_": "torch.distributed.fsdp.MixedPrecisionPolicy", "dtype": "bfloat16"}, "error",
     "unknown-key", "mp_policy.dtype"),
    ("model.config.num_hidden_layer", 4, "error", "ignored-key", "num_hidden_layers"),
    ("model.config.my_own", 4, "warning", "ignored-key", "transformers.LlamaConfig"),
    ("model.torch_dtpye", "float32", "error", "unknown-key", "torch_dtype"),
    ("packed_sequence", {"packed_sequence_size": 1024, "pack_size": 3}, "error", "unknown-key", "packed_sequence"),
    ("step_scheduler.max_steps", "banana", "error", "wrong-type", "an integer"),
    ("step_scheduler.global_batch_size", 1.5, "error", "wrong-type", "step_scheduler.global_batch_size=NUMBER"),
    ("step_scheduler.max_steps", 1000.0, "warning", "wrong-type", "step_scheduler.max_steps=1000"),
    ("step_scheduler.local_batch_size", 2.0, "error", "wrong-type", "step_scheduler.local_batch_size=2"),
    ("model.config.initializer_range", 1, "error", "wrong-type", "model.config.initializer_range=1.0"),
    ("model.config.use_cache", 1, "error", "wrong-type", "true or false"),
    ("model.config.max_length", 9, "warning", "ignored-key", "~model.config.max_length"),
    ("model.config.rope_thetta", 1e6, "error", "ignored-key", "model.config.rope_theta"),
    ("seed", True, "warning", "wrong-type", "taken as 1"),
    ("optimizer.lr", "fast", "error", "wrong-type", "a number"),
    ("optimizer.betas", 0.9, "error", "wrong-type", "a list"),
    ("distributed.tp_size", [1], "error", "wrong-type", "distributed.tp_size=NUMBER"),
    ("distributed.dp_size", "auto", "error", "wrong-type", "~distributed.dp_size"),
    ("distributed.sequence_parallel", "maybe", "error", "wrong-type", "true or false"),
    ("checkpoint", "here", "error", "wrong-type", "not a mapping"),
    ("model.config.vocab_size", "many", "error", "wrong-type", "model.config.vocab_size"),
    ("lr_scheduler.lr_decay_style", "cosin", "error", "bad-value", "lr_scheduler.lr_decay_style=cosine"),
    ("lr_scheduler.lr_wsd_decay_style", "sqrt", "error", "bad-value", "minus_sqrt"),
    ("distributed.strategy", "fsdp", "error", "bad-value", "distributed.strategy=fsdp2"),
    ("distributed.activation_checkpointing", "partly", "error", "bad-value", "selective"),
    ("checkpoint.model_save_format", "safetensor", "error", "bad-value", "safetensors"),
    ("checkpoint.save_consolidated", "last", "error", "bad-value", "final"),
    ("dist_env.backend", "ncll", "error", "bad-value", "dist_env.backend=nccl"),
    ("clip_grad_norm.backend", "torch", "error", "bad-value", "triton"),
    ("step_scheduler.preemption_signal", "SIGTREM", "error", "bad-value", "SIGTERM"),
    ("model.torch_dtype", "float23", "error", "bad-value", "float32"),
    ("dataloader._target_", "torch.utils.data.DataLoder", "error", "bad-value", "StatefulDataLoader"),
    ("model.backend", {"_target_": "nemo_automodel.components.models.common.BackendConfig", "attn": "flash"}, "error",
     "bad-value", "sdpa"),
    ("step_scheduler.val_check_interval", 5, "error", "renamed-key", "step_scheduler.val_every_steps"),
    ("step_scheduler.checkpoint_interval", 5, "error", "renamed-key", "step_scheduler.ckpt_every_steps"),
    ("step_scheduler.grad_accumulation_steps", 2, "error", "renamed-key", "global_batch_size /"),
    ("restore_from.path", "/x", "error", "renamed-key", "checkpoint.restore_from"),
    ("load_weights", True, "error", "renamed-key", "from_pretrained"),
    ("rng.seed", 7, "warning", "renamed-key", "top-level seed"),
    ("dataset.trainer_max_steps", 5, "error", "renamed-key", "step_scheduler.max_steps"),
    ("wandb.save_dir", "/x", "error", "renamed-key", "wandb.dir"),
    ("lr_scheduler._target_", "torch.optim.lr_scheduler.CosineAnnealingLR", "warning", "renamed-key", "lr_decay_style"),
    ("distributed._target_", "nemo_automodel.components.distributed.ddp.DDPManager", "error", "renamed-key",
     "distributed.strategy: ddp"),
    ("recipe", "TrainPretrainRecipeForNextTokenPrediction", "note", "renamed-key", "TrainFinetuneRecipe"),
    ("recipe", "TrainFinetuneRecipe", "error", "unknown-recipe", "recipe=TrainFinetune"),
    ("recipe", "FinetuneRecipeForVLM", "note", "not-checked", "FinetuneRecipeForVLM"),
    ("recipe", 5, "error", "unknown-recipe", "does not name a recipe class"),
    ("optimizer._target_", "nemo_automodel.components.optim.AdamX", "error", "unknown-target", "AdamX"),
    ("loss_fn._target_", "nemo_automodel.loss.masked_ce.MaskedCrossEntropy", "error", "unknown-target",
     "loss_fn._target_=nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"),
    ("dataset._target_", "nemo_automodel.datasets.llm.nanogpt_dataset.NanogptDataset", "error", "unknown-target",
     f"{DATASETS}.nanogpt_dataset.NanogptDataset"),
    ("model._target_", "nemo_automodel.AutoModelForCausalLM.from_config", "error", "unknown-target",
     "nemo_automodel.NeMoAutoModelForCausalLM.from_config"),
    ("model.config._target_", "transformers.LamaConfig", "error", "unknown-target", "transformers.LlamaConfig"),
    ("dataloader.collate_fn", "nemo_automodel.components.datasets.utils.default_colater", "error", "unknown-target",
     "dataloader.collate_fn"),
    ("optimizer._target_", 5, "error", "wrong-type", "dotted path"),
    ("loss_fn._target_", "torch.nn.CrossEntropyLoss", "error", "wrong-loss", "MaskedCrossEntropy"),
    ("dataloader.batch_size", 4, "error", "batch-size-twice", "step_scheduler.local_batch_size = 2"),
    ("model", {"pretrained_model_name_or_path": "x"}, "error", "missing-key", "model._target_"),
    ("optimizer", None, "error", "missing-key", "is empty"),
    ("dataset", {"_target_": f"{DATASETS}.nanogpt_dataset.NanogptDataset", "seq_len": 8}, "error", "missing-key",
     "needs file_pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "level", "code", "words"), FAULTS, ids=lambda value: str(value)[:40])
def test_one_fault_is_one_finding(bench: Bench, key: str, value: Any, level: str, code: str, words: str) -> None:
    plan = bench.planned(json.dumps(changed(key, value)))
    findings = found(plan)
    assert [(one.level, one.code) for one in findings] == [(level, code)], findings
    finding = findings[0]
    assert words in f"{finding.message} {finding.fix}"
    assert "stub/t.yaml:1" in finding.message or "has no " in finding.message
    assert finding.fix or finding.level == "note"


def test_sections_of_automodels_own_tests_are_passed_over(bench: Bench) -> None:
    assert found(bench.planned(json.dumps({**base(), "ci": {"recipe_owner": "me", "nodes": 2}}))) == []
    assert [one.code for one in found(bench.planned(json.dumps({**base(), "cii": {"nodes": 2}})))] == ["ignored-key"]


def test_a_section_that_is_never_built_is_not_said_to_stop_the_training(bench: Bench) -> None:
    rng = {"_target_": "nemo_automodel.components.training.rng.StatefulRNG", "deterministic": True}
    config = {**base(), "recipe": "FinetuneRecipeForVLM", "rng": rng}
    assert [one.code for one in found(bench.planned(json.dumps(config)))] == ["not-checked"]


@pytest.mark.parametrize(
    ("rng", "seed", "fix"),
    [
        ({"seed": 1111, "ranked": True}, None, "+seed=1111"),
        ({"seed": 1111}, 7, "seed=1111"),
        ({"seed": 42, "_target_": "nemo_automodel.components.training.rng.StatefulRNG"}, None, None),
        ({"seed": 7, "ranked": True}, 7, None),
        ({"seed": 42, "ranked": False}, None, "+seed=42"),
    ],
)
def test_a_seed_in_rng_is_told_in_one_line_and_only_where_another_is_taken(
    bench: Bench, rng: dict[str, Any], seed: int | None, fix: str | None
) -> None:
    config = {**base(), "rng": rng, "ci": {}}
    config.pop("seed", None)
    findings = found(bench.planned(json.dumps(config if seed is None else {**config, "seed": seed})))
    assert [one.fix for one in findings] == ([fix] if fix else [])
    assert all(f"rng.seed = {rng['seed']} (stub/t.yaml:1)" in one.message for one in findings)


def test_an_override_is_named_as_the_source(bench: Bench) -> None:
    bench.config(json.dumps(base()))
    plan = bench.plan("+step_scheduler.max_step=5", config="t")
    assert "override +step_scheduler.max_step=5" in found(plan)[0].message


def test_other_recipes_are_left_alone(tmp_path: Path) -> None:
    """Data preparation has a schema of its own."""
    plan = make_bench(tmp_path).planned("steps: banana\nseed: true\nrng: {seed: 1}\n")
    assert list(backends.of(plan.recipe).checks(plan)) == []


def _set(*changes: tuple[str, Any]) -> dict[str, Any]:
    config = base()
    for key, value in changes:
        *parents, leaf = key.split(".")
        node = config
        for part in parents:
            node = node[part]
        node[leaf] = value
    return config


MEGATRON = {"_target_": f"{DATASETS}.megatron_dataset.MegatronPretraining", "paths": {"train": ["/x"]}, "seq_length": 8}
VALID = {
    "ddp": _set(("distributed", {"strategy": "ddp", "find_unused_parameters": True})),
    "megatron-fsdp": _set(("distributed", {"strategy": "megatron_fsdp", "zero_dp_strategy": 3})),
    "sizes left to AutoModel": _set(("distributed.dp_size", "none"), ("distributed.ep_size", None)),
    "pipeline": _set(
        ("distributed", {"pp_size": 2, "pipeline": {"pp_schedule": "interleaved1f1b", "pp_microbatch_size": 1}})
    ),
    "an idle pipeline": _set(("distributed", {"pipeline": {"made_up": 1}})),
    "experts": _set(
        ("distributed", {"ep_size": 8, "moe": {"reshard_after_forward": True}, "activation_checkpointing": "selective"})
    ),
    "precision": _set(
        (
            "distributed",
            {"mp_policy": {"_target_": "torch.distributed.fsdp.MixedPrecisionPolicy", "param_dtype": "bf16"}},
        )
    ),
    "numbers as texts": _set(("optimizer.lr", "1e-4"), ("step_scheduler.max_steps", "10")),
    "left to the job": _set(("distributed.tp_size", "${oc.env:SLURM_NNODES}")),
    "continued": _set(
        (
            "model",
            {
                "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
                "pretrained_model_name_or_path": "a/b",
                "dtype": "torch.bfloat16",
                "trust_remote_code": True,
                "text_config": {"use_cache": False},
            },
        )
    ),
    "an alias of models": _set(
        ("model", {"_target_": "nemo_automodel.models.gpt2.build_gpt2_model", "n_layer": 2, "n_head": 2})
    ),
    "a config by name": _set(("model.config", "Qwen/Qwen3-0.6B")),
    "megatron data": _set(("dataset", {**MEGATRON, "tokenizer": {"pretrained_model_name_or_path": "x"}})),
    "its loader": _set(
        ("dataset", {**MEGATRON, "tokenizer": {"pretrained_model_name_or_path": "x"}}),
        ("dataloader", {"dataloader_type": "single", "num_workers": 2}),
    ),
    "validation sets": _set(("validation_dataset", MEGATRON), ("validation_dataset_code", MEGATRON)),
    "wandb": _set(("wandb", {"project": "p", "mode": "offline", "dir": "/x", "tags": ["a"], "enable": False})),
    "mlflow": _set(("mlflow", {"experiment_name": "e", "tags": {"a": "b"}})),
    "lora": _set(
        ("peft", {"_target_": "nemo_automodel.components._peft.lora.PeftConfig", "target_modules": "*_proj", "dim": 8})
    ),
    "another optimizer": _set(
        ("optimizer", {"_target_": "torch.optim.Adam", "lr": 1, "param_group_overrides": [{"pattern": "x"}]})
    ),
    "an optimizer from elsewhere": _set(
        ("optimizer", {"_target_": "transformer_engine.pytorch.optimizers.fused_adam.FusedAdam", "anything": 1})
    ),
    "muon": _set(("optimizer", {"_target_": "dion.Muon", "lr": 1e-3, "scalar_opt": "adamw", "mu": 0.9})),
    "a typed optimizer": _set(
        ("optimizer", {"_target_": "nemo_automodel.components.optim.optimizer.AdamWConfig", "fused": True})
    ),
    "no validation, no clipping": {k: v for k, v in base().items() if k not in ("clip_grad_norm", "lr_scheduler")},
    "fp8 and compile": _set(("fp8", {"enabled": True, "recipe_name": "rowwise"}), ("compile", {"enabled": True})),
    "packing": _set(("packed_sequence", {"packed_sequence_size": 1024, "packing_strategy": "neat"})),
    "signals": _set(("step_scheduler.preemption_signal", ["sigterm", "USR1", 10])),
    "two backends": _set(("dist_env.backend", "cpu:gloo,cuda:nccl")),
    "warm-up, stable, decay": _set(
        ("lr_scheduler", {"lr_decay_style": "WSD", "wsd_decay_steps": 3, "lr_wsd_decay_style": "linear"})
    ),
    "recipe by its path": _set(
        ("recipe", {"_target_": "nemo_automodel.recipes.llm.train_ft.TrainFinetuneRecipeForNextTokenPrediction"})
    ),
    "a recipe of one's own": _set(("recipe", "my_recipes.Mine")),
    "equal batch sizes": _set(("dataloader.batch_size", 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_valid_configs_have_no_finding(bench: Bench, name: str) -> None:
    assert [f for f in found(bench.planned(json.dumps(VALID[name]))) if f.level != "note"] == []


@pytest.mark.parametrize("name", ["tiny", "default", "nanogpt"])
def test_the_projects_own_configs_are_valid(tmp_path: Path, name: str) -> None:
    here = Workspace(tmp_path, ROOT / "recipes", ROOT / "configs", ROOT / "env.toml")
    recipe = recipes.find(here, "pretrain")
    layered = configs.load(recipe, name, [])
    env_file = profiles.load(here.env_file, "local")
    plan = planning.make(here, env_file, "local", recipe, layered, environ={"PRETRAIN_BLEND_PATH": "/x"})
    assert recipe.backend == "automodel"
    assert [f for module in (schema, targets, training) for check in module.CHECKS for f in check(plan)] == []


COMPILES = {"enabled": True, "mode": "max-autotune", "backend": "inductor"}


@pytest.mark.parametrize(
    ("section", "levels", "words"),
    [
        (COMPILES, [], ""),
        ({**COMPILES, "mode": "max-autotun"}, ["error"], "did you mean compile.mode=max-autotune?"),
        ({**COMPILES, "mode": "fast"}, ["error"], "reduce-overhead"),
        ({**COMPILES, "mode": "fast", "enabled": False}, [], ""),
        ({**COMPILES, "backend": "inductro"}, ["error"], "did you mean compile.backend=inductor?"),
        ({"enabled": True, "backend": "hpu_backend"}, ["warning"], "train uncompiled"),
        ({"enabled": True, "options": {"max_autotune": True, "triton.cudagraphs": True}}, [], ""),
        ({"enabled": True, "options": {"max_autotun": True}}, ["error"], "did you mean compile.options.max_autotune?"),
        ({**COMPILES, "options": {"max_autotune": True}}, ["error"], "~compile.mode"),
        ({"enabled": "${oc.env:X}", "mode": "${oc.env:MODE}"}, [], ""),
    ],
)
def test_what_torch_compile_refuses(bench: Bench, section: dict[str, Any], levels: list[str], words: str) -> None:
    """AutoModel logs it, and trains uncompiled; a backend may be one that a package brings."""
    found = list(compiling.options(bench.planned(json.dumps({**base(), "compile": section}), environ=SHELL)))
    assert [one.level for one in found] == levels
    assert all(words in f"{one.message} {one.fix}" for one in found)


SHELL = {"X": "1", "MODE": "default"}


@pytest.mark.parametrize(("value", "enabled", "codes"), [("detailed", True, 0), ("detaild", True, 1), ("x", False, 0)])
def test_a_mode_that_is_passed_over(bench: Bench, value: str, enabled: bool, codes: int) -> None:
    config = {**base(), "moe_metrics": {"enabled": enabled, "mode": value}}
    assert len(list(schema.values(bench.planned(json.dumps(config))))) == codes


@pytest.mark.parametrize(
    ("sets", "more", "says"),
    [
        (["validation_dataset"], {"best_metric_key": "any"}, ""),  # of a single one it is never looked at
        (["validation_dataset", "validation_dataset_code"], {}, ""),
        (["validation_dataset_web", "validation_dataset_code"], {}, "is 'default' by default"),
        (["validation_dataset_web", "validation_dataset_code"], {"best_metric_key": "code"}, ""),
        (["validation_dataset_web", "validation_dataset_code"], {"best_metric_key": "cod"}, "there are web, code"),
        (["validation_dataset_web", "validation_dataset_code"], {"enabled": False}, ""),
    ],
)
def test_the_best_of_several_validation_sets(bench: Bench, sets: list[str], more: dict[str, Any], says: str) -> None:
    config = base()
    config |= dict.fromkeys(sets, config["dataset"])
    config["checkpoint"] |= more
    found = [f"{one.message} {one.fix}" for one in validations.best_metric(bench.planned(json.dumps(config)))]
    assert len(found) == bool(says)
    assert all(says in text for text in found)


@pytest.mark.parametrize(
    ("texts", "fix"),
    [
        (["+mfu.device=H300"], "mfu.peak_tflops=NUMBER"),
        (["+freeze_config.freeze_vision_tower=true"], "~freeze_config.freeze_vision_tower"),
        (["+freeze_config.freeze_language_model=true"], "~freeze_config.freeze_language_model"),
        (["+mfu.device=NVIDIA H100 80GB HBM3", "+freeze_config.freeze_vision_tower=false"], None),
        (["+mfu.device=H300", "+mfu.peak_tflops=100"], None),
    ],
)
def test_what_has_no_effect_with_the_rest_of_the_config(bench: Bench, texts: list[str], fix: str | None) -> None:
    sizes = [f"+model.config.{name}=8" for name in ("vocab_size", "hidden_size", "num_attention_heads")]
    told = [one for check in no_effect.CHECKS for one in check(bench.planned(json.dumps(base()), *sizes, *texts))]
    assert [one.level for one in told] == (["warning"] if fix else [])
    assert all(str(fix) in (one.fix or "") for one in told)
