"""finetune.py: a pretrained model learns answers, and what it leaves loads in transformers."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.config import configs, overrides
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.profile import profiles
from tests.conftest import ROOT
from tests.recipes import shrunk
from tests.recipes.pretrain_fixtures import write_data
from tests.recipes.rehearse.forks import forked

pytestmark = pytest.mark.train


def test_the_loss_of_answers_falls_and_the_model_loads(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "recipes"))
    import torch
    import transformers

    torch.set_num_threads(1)
    importlib.import_module("nemo_automodel.recipes.llm.train_ft")
    write_data(tmp_path)
    model = shrunk.write_model("llama", tmp_path)
    data = tmp_path / "chat.jsonl"
    turns = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}] for n in range(64)]
    data.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    env = tmp_path / "env.toml"
    env.write_text(shrunk.LOCAL.format(jobs=tmp_path, data=tmp_path))
    recipe = recipes.find(shrunk.WORKSPACE, "finetune")
    small = ("step_scheduler.max_steps=6", "step_scheduler.ckpt_every_steps=6", "lr_scheduler.lr_warmup_steps=1")
    texts = [overrides.parse(text) for text in (*small, "optimizer.lr=1e-2")]
    layered = configs.load(recipe, "tiny", texts, ["--dry-run"])
    environ = {**os.environ, "FINETUNE_MODEL": str(model), "FINETUNE_DATA": str(data)}
    plan = planning.make(shrunk.WORKSPACE, profiles.load(env, "local"), "local", recipe, layered, environ=environ)
    assert [f.message for f in checks.run(plan) if f.level != "note"] == []
    losses: Any = forked(lambda: shrunk.train(plan, tmp_path / "run"))
    assert isinstance(losses, list), losses
    assert losses[-1] < 0.7 * losses[0]
    checkpoints = Path(plan.config["checkpoint"]["checkpoint_dir"])
    export = next(checkpoints.glob("epoch_*_step_5/model/consolidated"))
    _, info = transformers.AutoModelForCausalLM.from_pretrained(export, output_loading_info=True)
    assert not info["missing_keys"]
