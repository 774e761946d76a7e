"""configs/pretrain: every key is one that the installed AutoModel takes, and the numbers in each file agree."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

CONFIGS = Path(__file__).parents[3] / "configs" / "pretrain"
NAMES = ["default", "tiny", "nanogpt"]

TOP_LEVEL = {
    "recipe", "seed", "step_scheduler", "dist_env", "distributed", "model", "dataset", "validation_dataset",
    "dataloader", "loss_fn", "optimizer", "lr_scheduler", "clip_grad_norm", "checkpoint",
}  # fmt: skip
"""Sections that AutoModel 0.7.0 reads. It ignores any other in silence, so a misspelt one would not be noticed."""


@pytest.fixture(params=NAMES)
def config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One of the files, resolved as the launcher does, without `run`."""
    monkeypatch.setenv("PRETRAIN_BLEND_PATH", "/data/blend.json")
    return resolved(request.param)


def resolved(name: str) -> dict[str, Any]:
    source = OmegaConf.load(CONFIGS / f"{name}.yaml")
    run = {"run": {"dir": "/runs/r", "name": "r", "data_dir": "/data"}}
    content = OmegaConf.to_container(OmegaConf.merge(source, run), resolve=True)
    assert isinstance(content, dict)
    content.pop("run")
    return {str(key): value for key, value in content.items()}


def named(target: str) -> Any:
    """What a dotted `_target_` names, found as AutoModel's loader finds it."""
    from nemo_automodel.components.config.loader import ConfigNode

    return ConfigNode({"_target_": target}).get("_target_")


def fields_of(path: str) -> set[str]:
    """The fields of the dataclass "module:Class"."""
    module, _, name = path.partition(":")
    return {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))}


def sections_with_target(node: Any) -> list[dict[str, Any]]:
    """Every mapping below `node` that has a `_target_`."""
    if not isinstance(node, dict):
        return []
    below = [found for value in node.values() for found in sections_with_target(value)]
    return [node, *below] if "_target_" in node else below


def test_only_sections_that_automodel_reads_are_there(config: dict[str, Any]) -> None:
    assert set(config) <= TOP_LEVEL


def test_every_target_exists_and_takes_the_keys_beside_it(config: dict[str, Any]) -> None:
    for section in sections_with_target(config):
        parameters = inspect.signature(named(section["_target_"])).parameters
        # The recipe takes the tokenizer out of the data set's section before it builds the data set.
        keys = set(section) - {"_target_", "tokenizer"}
        unknown = keys - set(parameters)
        assert not unknown, section["_target_"]


@pytest.mark.parametrize(
    ("section", "fields", "runtime"),
    [
        (
            "step_scheduler",
            "nemo_automodel.components.training.step_scheduler:StepSchedulerConfig",
            {"local_batch_size"},
        ),
        ("lr_scheduler", "nemo_automodel.components.optim.optimizer:LRSchedulerConfig", set()),
        ("checkpoint", "nemo_automodel.components.checkpoint.config:CheckpointingConfig", set()),
        ("dataloader", "nemo_automodel.components.datasets.loader:DataloaderConfig", set()),
        (
            "distributed",
            "nemo_automodel.components.distributed.config:FSDP2Config",
            {"strategy", "tp_size", "cp_size", "pp_size", "ep_size"},
        ),
    ],
)
def test_every_key_of_a_typed_section_is_a_field(
    config: dict[str, Any], section: str, fields: str, runtime: set[str]
) -> None:
    assert set(config[section]) <= fields_of(fields) | runtime


def test_automodels_own_view_accepts_the_whole_file(config: dict[str, Any]) -> None:
    from nemo_automodel.components.config.loader import ConfigNode
    from nemo_automodel.recipes._typed_config import RecipeConfig

    typed = RecipeConfig(ConfigNode(config))
    for section in ("step_scheduler", "lr_scheduler", "checkpoint", "optimizer", "loss_fn", "dataloader"):
        assert getattr(typed, section) is not None
    assert set(typed.validation_dataloaders) == ({"default"} if "validation_dataset" in config else set())


def test_automodel_accepts_the_distribution(config: dict[str, Any]) -> None:
    from nemo_automodel.components.config.loader import ConfigNode
    from nemo_automodel.recipes._dist_utils import parse_distributed_section

    parsed = parse_distributed_section(ConfigNode(config["distributed"]).to_dict())
    assert type(parsed["strategy_config"]).__name__ == "FSDP2Config"


@pytest.mark.parametrize(("name", "worlds"), [("default", [8, 16, 32]), ("tiny", [1, 2, 4, 8]), ("nanogpt", [1, 2, 8])])
def test_the_batch_divides_and_the_experts_spread(
    name: str, worlds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETRAIN_BLEND_PATH", "/data/blend.json")
    content = resolved(name)
    scheduler, distributed = content["step_scheduler"], content["distributed"]
    for world in worlds:
        assert scheduler["global_batch_size"] % (scheduler["local_batch_size"] * world) == 0
        assert world % distributed["ep_size"] == 0


def test_the_schedule_of_the_learning_rate_fits_the_run(config: dict[str, Any]) -> None:
    schedule = config["lr_scheduler"]
    assert schedule["lr_warmup_steps"] < schedule["lr_decay_steps"] == config["step_scheduler"]["max_steps"]
    assert schedule["min_lr"] < config["optimizer"]["lr"]
    # AutoModel looks at the style only after the warm-up.
    assert schedule["lr_decay_style"] in {"constant", "linear", "cosine", "inverse-square-root", "WSD"}


def test_pinned_samples_suffice_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAIN_BLEND_PATH", "/data/blend.json")
    content = resolved("default")
    steps, batch = content["step_scheduler"]["max_steps"], content["step_scheduler"]["global_batch_size"]
    assert content["dataset"]["num_train_samples"] >= steps * batch


def test_what_outlives_a_job_lies_in_the_run_directory(config: dict[str, Any]) -> None:
    assert config["checkpoint"]["checkpoint_dir"] == "/runs/r/checkpoints"
    sections = (config.get("dataset", {}), config.get("validation_dataset", {}))
    indexes = [section["index_mapping_dir"] for section in sections if "index_mapping_dir" in section]
    assert all(index.startswith("/runs/r/index/") for index in indexes)
    assert len(set(indexes)) == len(indexes)


def test_the_timeout_outlasts_the_build_of_an_index(config: dict[str, Any]) -> None:
    assert config["dist_env"]["timeout_minutes"] >= 30


def test_a_sequence_fits_the_model() -> None:
    tiny, nanogpt = resolved("tiny"), resolved("nanogpt")
    assert tiny["dataset"]["seq_length"] <= tiny["model"]["config"]["max_position_embeddings"]
    assert nanogpt["dataset"]["seq_len"] <= nanogpt["model"]["n_positions"]


def test_the_shards_of_nanogpt_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved("nanogpt")["dataset"]["file_pattern"] == "/data/nanogpt/latest/train/*.bin"
    monkeypatch.setenv("NANOGPT_BIN_PATTERN", "/elsewhere/*.bin")
    assert resolved("nanogpt")["dataset"]["file_pattern"] == "/elsewhere/*.bin"


def test_tiny_has_a_few_million_parameters() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {key: value for key, value in resolved("tiny")["model"]["config"].items() if key != "_target_"}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    assert 3e6 < sum(parameter.numel() for parameter in model.parameters()) < 6e6
