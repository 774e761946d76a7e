"""Every shipped pretraining config: planned for its hardware without a finding, and, made small, trained."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import backends, checks
from automodel_launch.commands import main
from automodel_launch.config import configs
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.remote import gpu_models
from tests.conftest import OVER_SSH, ROOT
from tests.recipes import shrunk
from tests.recipes.pretrain_fixtures import write_data
from tests.recipes.rehearse.forks import forked

NAMES = shrunk.names()
H100 = (
    f'[h100]{OVER_SSH}gpu = "H100"\nsecrets = ["HF_TOKEN"]\n[h100.env_vars]\nPRETRAIN_BLEND_PATH = "/shared/b.json"\n'
)
UNKNOWN_TO_TRANSFORMERS = ("nanogpt", "custom-model")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a tokenizer, under the names that the configs have for them."""
    directory = tmp_path_factory.mktemp("data")
    write_data(directory)
    (directory / "own").symlink_to("tiny")
    return directory


@pytest.fixture(scope="module")
def automodel() -> None:
    """AutoModel, imported once for all children; a pool of threads would not survive a fork."""
    sys.path.insert(0, str(ROOT / "recipes"))
    import torch
    from pretrain_lib import collector

    torch.set_num_threads(1)
    with collector.off():
        importlib.import_module("nemo_automodel.recipes.llm.train_ft")
        importlib.import_module("nemo_automodel.components.datasets.llm.megatron_dataset")


def on_h100(name: str, directory: Path) -> Plan:
    """The plan for nodes of 8 H100, or one of 1 where the config says so."""
    env, recipe = directory / "env.toml", recipes.find(shrunk.WORKSPACE, "pretrain")
    text = H100.replace("nodes = 1\n", "")
    env.write_text(text.replace("gpus_per_node = 8\n", "") if name == "llama-100m" else text)
    layered = configs.load(recipe, name, [], ["--dry-run"])
    environ = {**os.environ, "HF_TOKEN": "hf_x"}
    profile = profiles.load(env, "h100")
    return planning.make(shrunk.WORKSPACE, profile, "h100", recipe, layered, environ=environ, offline=True)


@pytest.mark.parametrize("name", NAMES)
def test_it_plans_for_its_hardware_without_a_finding(name: str, tmp_path: Path) -> None:
    plan = on_h100(name, tmp_path)
    found = [f for f in checks.run(plan, offline=True) if f.level != "note"]
    assert found == []
    if name != "custom-model":  # whose sizes only its own code knows
        sizes = backends.of(plan.recipe).sizes(plan)
        assert sizes.parameters
        assert sizes.memory
        assert sizes.gpu_hours


@pytest.mark.train
@pytest.mark.parametrize("name", NAMES)
def test_it_learns_in_three_steps_and_its_checkpoint_loads(
    name: str, place: Path, automodel: None, tmp_path: Path
) -> None:
    plan = shrunk.plan(name, place, tmp_path)
    assert [f.message for f in checks.run(plan) if f.level == "error"] == []
    losses: Any = forked(lambda: shrunk.train(plan, tmp_path / "run"))
    assert isinstance(losses, list), losses
    assert len(losses) == 3
    assert losses[2] < losses[0]
    saved = Path(plan.config["checkpoint"]["checkpoint_dir"]) / "epoch_0_step_2" / "model"
    if name in UNKNOWN_TO_TRANSFORMERS:
        own, every = built_names(plan)
        assert own <= saved_names(saved) <= every
    else:
        assert loaded(saved / "consolidated") == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}


def loaded(directory: Path) -> dict[str, Any]:
    """What transformers says of loading an export; all empty where every weight was found."""
    import transformers

    _, info = transformers.AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    return {name: sorted(info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}


def saved_names(directory: Path) -> set[str]:
    """Names of the weights in a checkpoint's safetensors."""
    from safetensors import safe_open

    names: set[str] = set()
    for file in directory.glob("*.safetensors"):
        with safe_open(str(file), "pt") as stream:
            names |= set(stream.keys())
    return names


def built_names(plan: Plan) -> tuple[set[str], set[str]]:
    """Those of the module that the config's function builds: of shared weights the first name, and every name."""
    from nemo_automodel.components.config.loader import ConfigNode

    module: Any = ConfigNode(json.loads(json.dumps(dict(plan.config["model"])))).instantiate()
    return {name for name, _ in module.named_parameters()}, set(module.state_dict())


def test_the_table_of_the_docs_is_what_the_estimate_says(tmp_path: Path) -> None:
    from scripts import make_models_table

    plans = {name: on_h100(name, tmp_path) for name in make_models_table.names()}
    text = (ROOT / "docs" / "models.md").read_text()
    assert make_models_table.replaced(text, plans) == text, "run python -m scripts.make_models_table"
    for name, plan in plans.items():
        config = (make_models_table.CONFIGS / f"{name}.yaml").read_text()
        assert make_models_table.head(config, plan) == config, "run python -m scripts.make_models_table"


def test_configs_tells_what_a_plan_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a variable set, and without one asked for."""
    assert main.main(["configs", "pretrain", "--json"]) == 0
    told = {row["name"]: row.get("estimate") for row in json.loads(capsys.readouterr().out)}
    assert sorted(told) == sorted(NAMES)
    assert [name for name, estimate in told.items() if estimate is None] == ["custom-model"]
    for name in ("llama-3.1-8b", "llama-100m", "default"):
        plan, estimate = on_h100(name, tmp_path), told[name]
        sizes = backends.of(plan.recipe).sizes(plan)
        assert (estimate["nodes"], estimate["gpus_per_node"]) == (plan.nodes, plan.processes_per_node)
        for key in ("parameters", "tokens", "tokens_per_step", "gpu_hours"):
            assert estimate[key] == getattr(sizes, key)
        assert estimate["memory"] == (sizes.memory or 0) + gpu_models.RUNTIME
    assert main.main(["configs", "pretrain"]) == 0
    assert "8 x 8 H100, 22 GiB a GPU, 5,800 GPU-hours" in capsys.readouterr().out


def test_the_line_that_configs_lists_has_size_and_hardware() -> None:
    for name in NAMES:
        first = (ROOT / "configs" / "pretrain" / f"{name}.yaml").read_text().splitlines()[0]
        assert "parameters" in first or "124M" in first, name
        assert name == "tiny" or " x " in first, name  # which runs anywhere
