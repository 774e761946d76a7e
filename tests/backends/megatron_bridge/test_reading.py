"""What a config names, and its numbers, with what the recipe sets behind it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import data_identity
from automodel_launch.backends.megatron_bridge import keys, model, settings
from automodel_launch.backends.megatron_bridge.checks import data as data_checks
from automodel_launch.checks import containers, machine, save_interval
from automodel_launch.errors import RecipeError
from automodel_launch.launch import data
from automodel_launch.plan.mounts import Mount
from automodel_launch.remote.filesystem import RemoteFileSystem
from automodel_launch.remote.probes import Result, Results
from automodel_launch.remote.shell import LocalShell
from automodel_launch.report import cadence
from automodel_launch.report.measured import Measured
from tests.backends.megatron_bridge.bridge_bench import BACKEND, found, plan
from tests.workbench import Bench, make_bench, refused, write_pair

RECIPE = "recipe: {_target_: qwen3_8b_pretrain_config, per_split_data_args_path: BLEND}\n"
SMALL = (
    "hf_configs: {Qwen/Qwen3-8B: {architectures: [Qwen3ForCausalLM], vocab_size: 100, hidden_size: 8, head_dim: 4,"
    " intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1}}\n"
    "model: {tensor_model_parallel_size: 1, seq_length: 8}\n"
    "train: {train_iters: 4, global_batch_size: 4, eval_iters: 0}\n"
    "tokenizer: {tokenizer_type: NullTokenizer, tokenizer_model: null}\nscheduler: {lr_warmup_iters: 1}\n"
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def blend(tmp_path: Path) -> str:
    prefix = write_pair(tmp_path / "train", [1, 2, 3], list(range(60)))
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"train": ["1.0", prefix], "valid": [prefix]}))
    return str(path)


def _named(config: dict[str, Any]) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = {}
    for one in BACKEND.references(config):
        told.setdefault(one.kind, []).append(one.value)
    return told


def test_values_of_the_config_of_the_recipe_and_of_its_classes() -> None:
    known = settings.of({"recipe": "qwen3_8b_pretrain_config", "train": {"train_iters": 7}, "peft": None})
    assert known.value(keys.ITERS) == 7
    assert known.value(keys.TP) == 4
    assert known.value("checkpoint.save_optim") is True
    assert known.value("ft.enable_ft_package") is None  # the section is not there
    assert settings.of({"recipe": "qwen3_8b_pretrain_config", "model": {"_target_": "a.b"}}).value(keys.TP) is None
    packed = {"recipe": "qwen3_8b_sft_config", "dataset": {"packed_sequence_specs": None}}
    assert settings.of(packed).value("dataset.packed_sequence_specs.packed_sequence_size") is None
    assert settings.of({"recipe": "my.own.recipe"}).value(keys.TP) is None
    assert settings.of({"train": {"train_iters": "${oc.env:N}"}}).value(keys.ITERS) is None


def test_references() -> None:
    config: dict[str, Any] = {
        "recipe": {"_target_": "llama32_1b_pretrain_config", "per_split_data_args_path": "/b.json"}
    }
    assert _named(config) == {"data": ["/b.json"], "model": ["meta-llama/Llama-3.2-1B"]}
    config["hf_configs"] = {"meta-llama/Llama-3.2-1B": "/hf"}
    config |= {
        "tokenizer": {"tokenizer_type": "HuggingFaceTokenizer", "tokenizer_model": "/tok"},
        "checkpoint": {"save": "/c"},
    }
    assert _named(config) == {"data": ["/b.json"], "model": ["/hf"], "tokenizer": ["/tok"], "output": ["/c"]}
    assert _named({"recipe": "qwen3_8b_sft_config"})["tokenizer"] == ["Qwen/Qwen3-8B"]


@pytest.mark.parametrize(
    ("dataset", "value"),
    [
        ({"blend": [["/a", "/b"], [0.5, 0.5]]}, ["/a", "/b"]),
        ({"blend": [["/a"], None]}, ["/a"]),
        ({"blend_per_split": [[["/a"], None], None, [["/c"], [1.0]]]}, ["/a", "/c"]),
        ({}, None),
    ],
)
def test_data_in_the_section_itself(dataset: dict[str, Any], value: list[str] | None) -> None:
    named = BACKEND.data({"recipe": "qwen3_8b_pretrain_config", "dataset": dataset}, "/run").named
    assert [entry for _, _, entry in named] == ([] if value is None else [value])


def test_the_identity_of_the_data_is_in_the_plan(bench: Bench, blend: str) -> None:
    made = plan(bench, RECIPE.replace("BLEND", blend) + SMALL)
    assert made.data["named"] == [["megatron", blend]]
    assert made.data["digest"] == data_identity.look([["megatron", blend]], [])["digest"]
    assert made.data["caches"] == [f"{made.run_dir}/index"]  # where the script has it built
    config = {**made.config, "dataset": {"path_to_cache": "/index"}}
    assert BACKEND.data(config, "/run").caches == ("/index",)
    assert BACKEND.data({**made.config, "dataset": {"path_to_cache": None}}, "/run").caches == ()  # beside the data


def test_a_link_to_the_latest_data_is_followed(bench: Bench, blend: str, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "v1"
    folder.mkdir(parents=True)
    (folder / "blend.json").write_text(Path(blend).read_text())
    (folder.parent / "latest").symlink_to("v1")
    made = plan(bench, RECIPE.replace("BLEND", str(folder.parent / "latest" / "blend.json")) + SMALL)
    assert made.config["recipe"]["per_split_data_args_path"] == str(folder / "blend.json")
    assert data.pinned(str(folder), []) == str(folder)


def test_sizes_for_the_preview(bench: Bench, blend: str) -> None:
    sizes = BACKEND.sizes(plan(bench, RECIPE.replace("BLEND", blend) + SMALL))
    assert (sizes.tokens_per_step, sizes.tokens, sizes.data_tokens) == (32, 128, 63)
    assert sizes.epochs == pytest.approx(128 / 63)
    layer = 2 * 8 * 4 * (2 + 1) + 3 * 8 * 16
    assert sizes.parameters == 2 * layer + 2 * 100 * 8


def test_parameters_as_the_recipes_name_says() -> None:
    assert model.parameters(settings.of({"recipe": "nemotron_nano_9b_v2_pretrain_config"})) == 9 * 10**9
    assert (
        model.parameters(settings.of({"recipe": "nemotron_nano_9b_v2_pretrain_config", "model": {"num_layers": 2}}))
        is None
    )
    assert model.parameters(settings.of({"recipe": "qwen25_500m_pretrain_config"})) == pytest.approx(5e8, rel=0.02)
    assert model.parameters(settings.of({"recipe": "my.own.recipe_9b_pretrain_config"})) is None


def test_numbers_of_a_directory_that_stands_for_the_hub(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"num_attention_heads": 6, "architectures": ["Qwen3ForCausalLM"]}')
    text = f"recipe: qwen3_8b_pretrain_config\nhf_configs: {{Qwen/Qwen3-8B: {tmp_path / 'hf'}}}\n"
    codes = [one.code for one in found(bench, text, world=4)]
    assert "tensor-parallel" in codes
    known = settings.of(plan(bench, text).config)
    assert model.integer(known, "num_attention_heads") == 6
    assert model.integer(known, "num_attention_heads", look=False) is None  # the directory is on the cluster
    assert model.integer(known, "num_layers") is None  # not the hub's


def test_checkpoints_of_a_run(bench: Bench, blend: str) -> None:
    made = plan(bench, RECIPE.replace("BLEND", blend) + SMALL + "checkpoint: {save_interval: 2, most_recent_k: 3}\n")
    checkpoints = BACKEND.checkpoints(made)
    assert checkpoints is not None
    assert (checkpoints.steps, checkpoints.every, checkpoints.keep) == (4, 2, 3)
    assert checkpoints.directory == f"{made.run_dir}/checkpoints"  # where the script puts them
    parameters = BACKEND.sizes(made).parameters
    assert parameters is not None
    assert checkpoints.bytes == 14 * parameters  # bf16, float32 copy, two moments
    none = plan(bench, "recipe: qwen3_8b_pretrain_config\ncheckpoint: {save: null}\n")
    assert BACKEND.checkpoint_dir(none.config, "/run") is None
    assert BACKEND.checkpoints(none) is None
    assert BACKEND.checkpoints(plan(bench, "recipe: qwen3_8b_peft_config\n")).bytes is None  # type: ignore[union-attr]


def test_an_interval_that_wastes_much_is_told_by_the_frameworks_own_keys(bench: Bench, blend: str) -> None:
    known = Measured(step_s=10.0, save_s=120.0, restart_s=300.0, trained_s=0.0, failures=0, step=0)
    text = RECIPE.replace("BLEND", blend) + SMALL.replace("train_iters: 4", "train_iters: 100000")
    text += "checkpoint: {save_interval: 20}\n"
    made = plan(bench, text, world=8)
    made = replace(made, profile=made.profile.model_copy(update={"nodes": 128, "gpus_per_node": 8}))
    interval, background = save_interval.findings(made, known)
    best = round(cadence.best(120.0, 7.9 * 3600) / 10.0, -1)
    assert (interval.code, interval.fix) == ("save-interval", f"checkpoint.save_interval={best:.0f}")
    assert (background.code, background.fix) == ("async-save", "+checkpoint.async_save=true")
    asynchronous = plan(bench, text.replace("20}", "20, async_save: true, ckpt_format: torch_dist}"))
    assert save_interval._wanted(made) and not save_interval._wanted(asynchronous)
    other = BACKEND.checkpoints(plan(bench, text.replace("20}", "20, ckpt_format: fsdp_dtensor}")))
    assert other is not None and other.async_key is None


def test_trackers() -> None:
    assert [use.online for use in BACKEND.trackers({"logger": {"wandb_project": "p"}})] == [True]
    assert [use.online for use in BACKEND.trackers({"logger": {"wandb_project": "${oc.env:P}"}})] == [False]
    assert list(BACKEND.trackers({"logger": {"wandb_project": None}})) == []


def test_a_recipe_by_its_name_keeps_the_arguments(bench: Bench, blend: str) -> None:
    text = RECIPE.replace("BLEND", blend)
    made = plan(bench, text, "--recipe=llama32_1b_pretrain_config")
    assert made.config["recipe"] == {"_target_": "llama32_1b_pretrain_config", "per_split_data_args_path": blend}
    assert made.provenance["recipe._target_"] == "override --recipe=llama32_1b_pretrain_config"
    by_name = plan(bench, "recipe: qwen3_8b_pretrain_config\n", "recipe=llama32_1b_pretrain_config")
    assert by_name.config["recipe"] == "llama32_1b_pretrain_config"
    bench.script("stub", "[tool.runspec]\n[tool.runspec.config]\nshort = {recipe = 3}")
    refused(RecipeError, lambda: bench.recipe, "short", "strings")


def test_another_release_is_told(bench: Bench, tmp_path: Path) -> None:
    """The checks know one; what the job's Python has is asked."""
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho '[[3, 12, 0], {"megatron-bridge": "0.5.1"}]'\n""")
    python.chmod(0o755)
    made = plan(bench, "recipe: qwen3_8b_pretrain_config\n", f"run.env.python={python}")
    recipe = replace(made.recipe, dependencies=("megatron-bridge==0.3.1",))
    (one,) = [one for one in machine.packages(replace(made, recipe=recipe)) if one.code == "other-version"]
    assert "Megatron-Bridge 0.5.1" in one.message
    assert "0.3.1" in one.message


def test_data_on_a_cluster_are_asked_for_in_one_question(bench: Bench, blend: str, tmp_path: Path) -> None:
    """The script is run by bash as a login node would; its answer gives the findings that this machine's look gives."""
    cut = tmp_path / "train.bin"
    cut.write_bytes(cut.read_bytes()[:-2])
    made = plan(bench, RECIPE.replace("BLEND", blend) + SMALL)
    away = replace(made, place=RemoteFileSystem(LocalShell()))
    assert not away.visible
    (script,) = BACKEND.questions(away).values()
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    results = Results({name: Result(0, done.stdout.strip()) for name in BACKEND.questions(away)}, 0.0)
    told = [(one.level, one.code) for one in BACKEND.judge(away, results)]
    assert ("error", "bad-shard") in told
    assert told == [(one.level, one.code) for one in data_checks.LOOK.here(made)]
    assert list(BACKEND.judge(made, results)) == []


def test_a_checkout_of_it_over_the_images_own(bench: Bench, tmp_path: Path) -> None:
    """Its package lies below src/ there."""
    made = plan(bench, "recipe: qwen3_8b_pretrain_config\n")
    source = str(tmp_path / "Megatron-Bridge")
    mounted = replace(made, mounts=(Mount(source, "/opt/Megatron-Bridge", written=f"{source}:/opt/Megatron-Bridge"),))
    (tmp_path / "Megatron-Bridge" / "src" / "megatron" / "bridge").mkdir(parents=True)
    assert [one.code for one in containers.local_framework(mounted)] == ["no-framework"]
    (tmp_path / "Megatron-Bridge" / "src" / "megatron" / "bridge" / "__init__.py").touch()
    assert [one.code for one in containers.local_framework(mounted)] == ["local-framework"]
