"""What an experiment tracker is told of a config with secrets: AutoModel's own calls, and a tracker that notes them."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes"))
from pretrain_lib import trackers

from tests.recipes.rehearse.forks import forked

SECRET = "acme-0123456789-token"
CONFIG = """
wandb: {project: p, mode: offline, notes: plain}
comet: {project_name: p}
step_scheduler: {max_steps: 3}
dataset:
  token: "${oc.env:ACME_TOKEN}"
  mine: ${oc.env:MINE}
  url: https://me:$ACME_TOKEN@host/x
  place: "${oc.env:PLACE}"
  list: [1, "${ACME_TOKEN}"]
  number: ${oc.env:NUMBER_KEY}
  copied: VALUE
""".replace("VALUE", SECRET)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for wandb, and what it was given."""
    seen: dict[str, Any] = {}

    def init(**kwargs: Any) -> Any:
        seen.update(kwargs)
        return types.SimpleNamespace(url="")

    module = types.ModuleType("wandb")
    module.__dict__.update(init=init, Settings=lambda **kwargs: None, run=None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    environ = {"ACME_TOKEN": SECRET, "MINE": "value of mine", "PLACE": "/data", "NUMBER_KEY": "1234567890.50"}
    for name, value in (environ | {"LAUNCH_HIDDEN": "MINE"}).items():
        monkeypatch.setenv(name, value)
    return seen


def _load(tmp_path: Path) -> tuple[dict[str, Any], Any]:
    from pretrain_lib.config import load_config, read_yaml

    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return read_yaml(str(path)), load_config(str(path))


def test_wandb_is_told_references_and_the_training_has_values(tmp_path: Path, told: dict[str, Any]) -> None:
    from nemo_automodel.recipes._typed_config import RecipeConfig

    raw, config = _load(tmp_path)
    trackers.keep_secrets_from_trackers(raw)
    typed = RecipeConfig(config)
    typed.wandb.build(run_config=typed.to_dict(), model_name="m")
    assert told["config"]["dataset"] == {
        "token": "${oc.env:ACME_TOKEN}",
        "mine": "${oc.env:MINE}",
        "url": "https://me:$ACME_TOKEN@host/x",
        "place": "/data",
        "list": [1, "${ACME_TOKEN}"],
        "number": "${oc.env:NUMBER_KEY}",
        "copied": "${oc.env:ACME_TOKEN}",
    }
    assert (told["project"], told["notes"], told["config"]["step_scheduler"]) == ("p", "plain", {"max_steps": 3})
    assert config.dataset.token == SECRET, "the training's own is resolved"


RECIPE = """
import types

import torch
from nemo_automodel.recipes._typed_config import RecipeConfig


class Held:
    \"\"\"A recipe class of somebody's own that begins its tracker as AutoModel's do, and has a validation.\"\"\"

    def __init__(self, config):
        self.config, self.model_parts = config, []

    def setup(self):
        typed = RecipeConfig(self.config)
        typed.wandb.build(run_config=typed.to_dict(), model_name="m")
        logger = types.SimpleNamespace(close=lambda: None)
        self.val_dataloaders, self.metric_logger_valid = {"default": None}, {"default": logger}

    def _run_validation_epoch(self, loader):
        return types.SimpleNamespace(metrics={"val_loss": 2.0, "num_label_tokens": 8})

    def log_val_metrics(self, name, told, logger):
        print(name, told.metrics)

    def run_train_validation_loop(self):
        raise AssertionError("an evaluation takes no step")
"""


def test_an_evaluation_tells_no_secret(
    tmp_path: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither its tracker, nor its log, nor what it leaves."""
    import evaluate

    (tmp_path / "held.py").write_text(RECIPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setenv("LAUNCH_RUN_DIR", str(run))
    path = tmp_path / "config.yaml"
    data = "https://me:$ACME_TOKEN@host/held-out"
    path.write_text(f"{CONFIG}_step_recipe: held:Held\nvalidation_dataset: {{path_or_dataset_id: '{data}'}}\n")
    code, config = forked(lambda: (evaluate.main(["--config", str(path)]), told.get("config")))  # it adapts torch
    assert (code, config["validation_dataset"]["path_or_dataset_id"]) == (0, data)
    shown = capfd.readouterr()
    kept = "".join(file.read_text() for file in run.rglob("*") if file.is_file())
    assert "held out: default: loss 2.0" in shown.out + shown.err and '"loss": 2.0' in kept
    assert SECRET not in f"{config}{shown}{kept}"


def test_comet_is_told_references(tmp_path: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from nemo_automodel.components.loggers.comet_utils import CometLogger

    seen: list[Any] = []
    monkeypatch.setattr(CometLogger, "log_params", lambda self, params: seen.append(params))
    raw, config = _load(tmp_path)
    trackers.keep_secrets_from_trackers(raw)
    logger = CometLogger.__new__(CometLogger)
    logger.log_params(config.to_dict())
    assert seen[0]["dataset"]["token"] == "${oc.env:ACME_TOKEN}"
    assert SECRET not in repr(seen)


def test_a_checkpoint_the_log_and_mlflow_have_references(
    tmp_path: Path, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AutoModel's own calls. It resolves one value that is a number, and keeps the references of all others."""
    from nemo_automodel.components.checkpoint.checkpointing import save_config
    from nemo_automodel.components.config.loader import ConfigNode, config_to_yaml_str

    monkeypatch.setattr(ConfigNode, "to_yaml_dict", ConfigNode.to_yaml_dict)  # put back afterwards
    raw, config = _load(tmp_path)
    trackers.keep_secrets_from_files(config, raw)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_config(config.to_yaml_dict(use_orig_values=True), str(folder))
    saved = (folder / "config.yaml").read_text()
    assert yaml.safe_load(saved)["dataset"]["token"] == "${oc.env:ACME_TOKEN}"
    assert yaml.safe_load(saved)["step_scheduler"] == {"max_steps": 3}
    shown = saved + config_to_yaml_str(config, use_orig_values=True)
    assert [value for value in (SECRET, "value of mine", "1234567890") if value in shown] == []
    assert config.dataset.number == 1234567890.5, "the training's own is resolved"


def test_without_a_tracker_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    trackers.keep_secrets_from_trackers({"wandb": {"project": "p"}})  # AutoModel says that it misses wandb
    trackers.keep_secrets_from_trackers({})
