"""The seam for what trains: only a backend's own package knows its keys, and each backend answers every question."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import backends, checks, contract
from automodel_launch.backends import trackers
from automodel_launch.errors import RecipeError
from automodel_launch.plan import recipes
from automodel_launch.workspace import Workspace
from tests.conftest import ROOT
from tests.workbench import Bench, make_bench

PACKAGE = ROOT / "automodel_launch"
OF_BACKENDS = {name: PACKAGE / "backends" / name for name in ("automodel", "megatron_bridge")}
ONE_FILE = {PACKAGE / "backends" / "curation.py"}
OUTSIDE = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path not in ONE_FILE and not set(OF_BACKENDS.values()) & set(path.parents)
]
KEYS = (
    *("step_scheduler", "lr_scheduler", "checkpoint.", "checkpoint_dir", "max_steps", "dataset.", "validation_dataset"),
    *("distributed.", "tp_size", "model.", "loss_fn", "dataloader", "packed_sequence", "_target_"),
    *("pretrained_model_name_or_path", "nemo_automodel", "nemo-automodel", "MegatronPretraining", "NanogptDataset"),
    *("train.", "train_iters", "micro_batch_size", "tensor_model_parallel", "hf_configs", "per_split_data_args_path"),
    *("seq_length", "megatron.bridge", "bridge_lib", "pretrain-bridge", "finetune-bridge"),
)
_KEY = re.compile(rf"(?<![\w/-])(?:{'|'.join(map(re.escape, KEYS))})")  # an image may be called nvidia/nemo-automodel
# The node agent's spec and the records have keys of these names, which the contract fixes.
OWN_NAMES = {"checkpoint_dir", "max_steps"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _docstrings(tree: ast.AST) -> set[int]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    return {id(node.value) for node in nodes}


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the literals in code, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_backend_names_its_keys(path: Path) -> None:
    assert [(line, text) for line, text in _strings(path) if _KEY.search(text) and text not in OWN_NAMES] == []


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_backend_imports_its_modules(path: Path) -> None:
    own = tuple(f"automodel_launch.backends.{name}." for name in OF_BACKENDS)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        assert not any(f"{base}{name}.".startswith(own) for name in names)


def test_backends_do_not_know_each_other() -> None:
    """What one trains another way, it asks the seam."""
    for name, folder in OF_BACKENDS.items():
        others = tuple(f"automodel_launch.backends.{other}" for other in OF_BACKENDS if other != name)
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                names = [one.name for one in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
                assert not any(f"{base}{one}".startswith(others) for one in names), path


@pytest.mark.parametrize("name", backends.names())
def test_a_backend_has_every_member_of_the_protocol(name: str) -> None:
    backend = backends.get(name)
    for member, function in inspect.getmembers(backends.Backend, inspect.isfunction):
        if not member.startswith("_"):
            assert inspect.signature(getattr(type(backend), member)) == inspect.signature(function), member


def test_recipes_name_their_backends() -> None:
    here = Workspace(ROOT, ROOT / "recipes", ROOT / "configs", ROOT / "env.toml")
    assert all(recipe.backend in backends.names() for recipe in recipes.available(here))


@pytest.mark.parametrize("name", backends.names())
def test_the_node_agent_takes_the_order_of_a_recipe_of_each_backend(bench: Bench, name: str) -> None:
    """Agents know those that train, and take any other script as such."""
    bench.script("stub", f'[tool.runspec]\nbackend = "{name}"\n[tool.runspec.config]\ndir = "stub"')
    assert bench.planned("key: value\n").agent["backend"] in contract.BACKENDS


def test_an_unknown_backend_is_refused_with_the_nearest(bench: Bench) -> None:
    bench.script("stub", '[tool.runspec]\nbackend = "automodle"\n[tool.runspec.config]\ndir = "stub"')
    with pytest.raises(RecipeError) as refused:
        backends.of(bench.recipe)
    assert "stub.py" in refused.value.message and "automodel" in refused.value.message
    with pytest.raises(RecipeError):
        bench.plan()


@pytest.mark.parametrize("named", [False, True])
def test_a_framework_without_its_backend_is_reported(bench: Bench, named: bool) -> None:
    """Unless the recipe says that it wants none."""
    line = 'backend = "none"\n' if named else ""
    block = f'dependencies = ["Nemo_Automodel[all]>=0.7"]\n[tool.runspec]\n{line}[tool.runspec.config]\ndir = "stub"'
    bench.script("stub", block)
    found = [finding for finding in checks.run(bench.plan()) if finding.code == "backend-not-named"]
    assert [finding.level for finding in found] == ([] if named else ["warning"])
    assert all('backend = "automodel"' in (finding.fix or "") for finding in found)


def test_a_plain_script_answers_nothing(bench: Bench) -> None:
    backend, plan = backends.get("none"), bench.plan()
    assert backend.framework is None
    assert (backend.max_steps(plan.config), backend.checkpoint_dir(plan.config, plan.run_dir)) == (None, None)
    assert backend.checkpoints(plan) is None
    assert (list(backend.references(plan.config)), backend.questions(plan)) == ([], {})
    assert list(backend.checks(plan)) == []


def test_sizes_of_a_training(bench: Bench, tmp_path: Path) -> None:
    plan = bench.trains().planned(
        "model: {_target_: x.from_config, config: {_target_: transformers.LlamaConfig, hidden_size: 8,"
        " num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 16, vocab_size: 10}}\n"
        "step_scheduler: {global_batch_size: 4, max_steps: 3}\ndataset: {_target_: x.Some, seq_length: 5}\n"
    )
    sizes = backends.of(plan.recipe).sizes(plan)
    assert (sizes.tokens_per_step, sizes.tokens, sizes.data_tokens, sizes.epochs) == (20, 60, None, None)
    assert sizes.parameters == 2 * 10 * 8 + 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8


def test_wandb_keeps_one_run_over_all_attempts() -> None:
    uses = [trackers.Use("wandb", "wandb")]
    one = trackers.environment(uses, "n" * 100, "/a/n", "local /a/n")
    assert one == trackers.environment(uses, "n" * 100, "/a/n", "local /a/n")
    assert one["WANDB_RUN_ID"] != trackers.environment(uses, "n" * 100, "/b/n", "local /b/n")["WANDB_RUN_ID"]
    assert len(one["WANDB_RUN_ID"]) <= 64
    assert one["WANDB_RESUME"] == "allow"
    assert trackers.environment([], "n", "/a/n", "p") == {}


@pytest.mark.parametrize(
    ("name", "config", "offline"),
    [
        ("automodel", {"wandb": {"project": "p"}}, "+wandb.mode=offline"),
        ("megatron_bridge", {"logger": {"wandb_project": "p"}}, "run.env.env_vars.WANDB_MODE=offline"),
    ],
)
def test_wandb_without_a_key_is_asked_for_in_words_of_the_framework(
    name: str, config: dict[str, object], offline: str
) -> None:
    module = importlib.import_module(f"automodel_launch.backends.{name}.trackers")
    assert [(use.online, use.offline) for use in module.used(config)] == [(True, offline)]


def test_trackers_files_lie_in_the_runs_directory() -> None:
    uses = [trackers.Use("wandb", "wandb"), trackers.Use("mlflow", "mlflow")]
    values = trackers.environment(uses, "n", "/a/n", "local /a/n")
    assert values["WANDB_DIR"] == "/a/n"
    assert values["MLFLOW_TRACKING_URI"] == "sqlite:////a/n/mlflow.db"
    own = trackers.environment(uses, "n", "/a/n", "local /a/n", {"MLFLOW_TRACKING_URI", "WANDB_DIR"})
    assert not {"MLFLOW_TRACKING_URI", "WANDB_DIR"} & set(own)  # the job has them from elsewhere
