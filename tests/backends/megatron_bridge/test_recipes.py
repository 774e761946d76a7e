"""Every recipe of Megatron-Bridge plans, at the size that it is made for, and another backend knows it by its model."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from automodel_launch import backends
from automodel_launch.backends import Model
from automodel_launch.backends.megatron_bridge import layout, schema, settings
from automodel_launch.commands import main
from tests.backends.megatron_bridge.bridge_bench import BACKEND, found, plan
from tests.conftest import ROOT
from tests.faults import launches
from tests.workbench import Bench, make_bench

KNOWN = schema.load()
# Recipes of 0.3.1 that cannot train as they are, wherever they run; of each kind one was tried, or its line read:
# NotImplementedError; "Cannot use sequence parallelism without tensor parallelism"; `assert max_lr >= min_lr`;
# "num_layers should be divisible by pipeline_model_parallel_size"; moe_layer.py's ValueError for tensor parallelism.
STOPS = {
    "qwen3_next_80b_a3b_peft_config": {"unknown-recipe"},
    "glm45_355b_peft_config": {"expert-parallel"},
    "glm45_355b_pretrain_config": {"pipeline"},
    "glm45_355b_sft_config": {"expert-parallel", "pipeline"},
    "glm45_air_106b_pretrain_config": {"tensor-parallel", "pipeline"},
    "glm45_air_106b_sft_config": {"pipeline"},
    "nemotron_nano_12b_v2_sft_config": {"lr-range"},
    "qwen3_vl_235b_a22b_finetune_config": {"expert-parallel"},
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("recipes"))


def _world(name: str) -> int:
    """The fewest ranks on which the recipe's own sizes divide."""
    recipe = KNOWN.recipe(name)
    assert recipe is not None
    sizes = layout.sizes(settings.of({"recipe": name}))
    assert sizes is not None
    return math.lcm(sizes.model, (sizes.etp or sizes.tp) * sizes.ep * sizes.pp)


@pytest.mark.parametrize("name", KNOWN.recipes)
def test_every_recipe_plans(bench: Bench, name: str) -> None:
    """With nothing but its name, and weights to begin with where it fine-tunes."""
    recipe = KNOWN.recipe(name)
    assert recipe is not None
    weights = ", pretrained_checkpoint: s3://b/w" if recipe.mode == "finetune" else ""
    needs = "".join(f", {argument}: bf16_mixed" for argument in recipe.required)
    text = f"recipe: {{_target_: {recipe.path}{needs}}}\ncheckpoint: {{save: /c{weights}}}\n"
    text += "step_func: vlm_step\n" if "VL" in recipe.classes.get("model", "") else ""
    errors = [
        one for one in found(bench, text, world=_world(name)) if one.level == "error" and one.code != "checkpoint-dir"
    ]
    assert {one.code for one in errors} == STOPS.get(name, set()), errors


def test_families_have_every_recipe_once() -> None:
    names = [name for listed in BACKEND.presets().values() for name in listed]
    assert sorted(names) == sorted(KNOWN.recipes)
    assert {"qwen", "llama", "nemotronh", "deepseek"} <= set(BACKEND.presets())
    assert backends.get("none").presets() == {}


def test_the_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["recipes", "pretrain-bridge"]) == 0
    out, err = capsys.readouterr()
    assert any(line.split() == ["llama", "llama32_1b_pretrain_config"] for line in out.splitlines())
    assert schema.VERSION in err
    assert main.main(["recipes", "pretrain-bridge", "--json"]) == 0
    assert "qwen3_8b_pretrain_config" in json.loads(capsys.readouterr().out)["qwen"]
    assert main.main(["recipes", "data-prep"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        (Model("qwen/qwen3-8b"), "qwen3_8b_pretrain_config"),
        (Model(None, "llama", 69 * 10**9), "llama31_70b_pretrain_config"),
        (Model(None, "qwen3_moe", 30 * 10**9), "qwen3_30b_a3b_pretrain_config"),
        (Model(None, "deepseek_v3", 671 * 10**9), "deepseek_v3_pretrain_config"),
        (Model("meta-llama/Llama-3.2-1B", finetunes=True), "llama32_1b_sft_config"),
        (Model(None, "llama", 30 * 10**9), None),
        (Model("some/body", "my_own", 10**9), None),
        (Model("some/body"), None),
    ],
)
def test_a_models_recipe(model: Model, recipe: str | None) -> None:
    offer = BACKEND.offer(model)
    assert (offer and offer.words.split()[-1]) == recipe


def test_a_small_model_on_one_node_is_pointed_to_automodel(bench: Bench) -> None:
    text = "recipe: llama32_1b_pretrain_config\ndataset: {mock: true}\ncheckpoint: {save: /c}\n"
    (note,) = [one for one in found(bench, text) if one.code == "other-backend"]
    assert note.level == "note"
    assert "pretrain model.pretrained_model_name_or_path=meta-llama/Llama-3.2-1B" in (note.fix or "")
    others = [(8, 1, "model.tensor_model_parallel_size=2"), (8, 2, "train.train_iters=5")]
    for world, nodes, setting in others:
        many = found(bench, text, f"+{setting}", world=world, nodes=nodes)
        assert not [one for one in many if one.code == "other-backend"]


def test_the_commands_of_both_notes_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a note says is typed, with a blend."""
    monkeypatch.setenv("PRETRAIN_BLEND_PATH", "/corpus/blend.json")
    env = tmp_path / "env.toml"
    env.write_text(
        '[s]\nexecutor = "slurm"\nnodes = 1\ngpus_per_node = 8\nremote_job_dir = "/l"\ntunnel = "ssh"\nhost = "h"\n'
    )
    for name, model in (("automodel", Model("Qwen/Qwen3-8B")), ("megatron-bridge", Model("Qwen/Qwen3-8B"))):
        offer = backends.get(name).offer(model)
        assert offer is not None
        words = [*offer.words.split(), "--batch", "s", "--dry-run", "--offline", "--json", "--env", str(env)]
        assert main.main(words) == 0, words


def test_nemotrons_own_config_plans_without_a_finding(tmp_path: Path) -> None:
    """Nemotron's own config/tiny.yaml, word for word, with enough data: nothing but notes."""
    path = ROOT / "tests" / "faults" / "valid" / "bridge-nemotrons-tiny.yaml"
    launch = launches.read(path)
    for line in (
        "per_split_data_args_path: ${art:data,path}/blend.json",
        "save: /nemo_run/pretrain",
        "train_iters: 1700",
    ):
        assert line in launch.config
    shared = launches.share(tmp_path)
    _large_data(shared[0] / "large", 1700 * 32 * 4096)
    files = {name: str(text).replace("DATA/tiny/megatron", "DATA/large") for name, text in launch.files.items()}
    found = launches.check(replace(launch, files=files), launches.Stage(tmp_path / "here", *shared))
    assert isinstance(found, list), found
    assert [one for one in found if one.level != "note"] == []
    assert any("1,700 steps = 222.8 million tokens" in one.message for one in found)


def _large_data(folder: Path, tokens: int) -> None:
    """A pair with one sequence, whose .bin takes no room on the disk."""
    folder.mkdir()
    index = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, 1, 2) + struct.pack("<iqqq", tokens, 0, 0, 1)
    (folder / "part.idx").write_bytes(index)
    (folder / "part.bin").touch()
    os.truncate(folder / "part.bin", 2 * tokens)
    prefixes = ["1.0", str(folder / "part")]
    (folder / "blend.json").write_text(json.dumps({"train": prefixes, "valid": prefixes}))


def test_max_steps_are_the_recipes_where_nothing_is_written(bench: Bench) -> None:
    made = plan(bench, "recipe: llama32_1b_pretrain_config\n")
    assert BACKEND.max_steps(made.config) == settings.of(made.config).number("train.train_iters")
    assert BACKEND.max_steps({"recipe": "my.own.recipe", "train": {"train_samples": 100, "global_batch_size": 8}}) == 12
    assert BACKEND.max_steps({"recipe": "my.own.recipe"}) is None
