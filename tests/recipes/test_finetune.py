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


QUESTION, ANSWER = "7?", "yes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pretrained model with its tokenizer, and conversations; AutoModel is imported for the children."""
    sys.path.insert(0, str(ROOT / "recipes"))
    import torch
    from pretrain_lib import collector

    torch.set_num_threads(1)
    with collector.off():
        importlib.import_module("nemo_automodel.recipes.llm.train_ft")
    place = tmp_path_factory.mktemp("finetune")
    write_data(place)
    shrunk.write_model("llama", place)
    turns = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": ANSWER}] for n in range(64)]
    (place / "chat.jsonl").write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    return place


def finetuned(name: str, place: Path, jobs: Path, *more: str) -> tuple[list[float], Path]:
    """Losses of six steps of configs/finetune/NAME.yaml, and `model/` of the last checkpoint."""
    env = jobs / "env.toml"
    env.write_text(shrunk.LOCAL.format(jobs=jobs, data=place))
    recipe = recipes.find(shrunk.WORKSPACE, "finetune")
    small = ("step_scheduler.max_steps=6", "step_scheduler.ckpt_every_steps=6", "lr_scheduler.lr_warmup_steps=1")
    layered = configs.load(
        recipe, name, [overrides.parse(text) for text in (*small, "optimizer.lr=1e-2", *more)], ["--dry-run"]
    )
    environ = {**os.environ, "FINETUNE_MODEL": str(place / "llama"), "FINETUNE_DATA": str(place / "chat.jsonl")}
    environ["TEACHER_MODEL"] = str(place / "teacher")
    profile = profiles.load(env, "local")
    plan = planning.make(shrunk.WORKSPACE, profile, "local", recipe, layered, environ=environ)
    assert [f.message for f in checks.run(plan) if f.level != "note"] == []
    losses: Any = forked(lambda: shrunk.train(plan, jobs / "run"))
    assert isinstance(losses, list), losses
    return losses, next(Path(plan.config["checkpoint"]["checkpoint_dir"]).glob("epoch_*_step_5/model"))


def loss_of_the_answer(model: Any, place: Path) -> float:
    """Of what follows the question, in the words of the config's template."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "llama")
    before = tokenizer(f"user: {QUESTION}\n")["input_ids"]
    after = [*tokenizer(ANSWER)["input_ids"], tokenizer.eos_token_id]
    ids = torch.tensor([[*before, *after]])
    labels = torch.tensor([[-100] * len(before) + after])
    with torch.no_grad():
        return float(model(input_ids=ids, labels=labels).loss)


def test_the_loss_of_answers_falls_and_the_model_loads(place: Path, tmp_path: Path) -> None:
    import transformers

    losses, saved = finetuned("tiny", place, tmp_path)
    assert losses[-1] < 0.7 * losses[0]
    base = transformers.AutoModelForCausalLM.from_pretrained(place / "llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(saved / "consolidated")
    assert loss_of_the_answer(model, place) < 0.7 * loss_of_the_answer(base, place)


def test_the_config_of_real_size_trains(place: Path, tmp_path: Path) -> None:
    """Its schedule has no length of its own: AutoModel takes it from the data."""
    small = ("step_scheduler.global_batch_size=16", "dataset.seq_length=256", "dataloader.num_workers=0")
    losses, saved = finetuned("sft", place, tmp_path, *small, "distributed.mp_policy.param_dtype=float32")
    assert losses[-1] < 0.7 * losses[0]
    assert (saved / "consolidated" / "config.json").is_file()


def test_a_teacher_is_learned_from(place: Path, tmp_path: Path) -> None:
    """A teacher that agrees leaves the answers to be learned."""
    teacher = place / "teacher"
    if not teacher.exists():
        teacher.symlink_to("llama")
    losses, saved = finetuned("distill", place, tmp_path)
    assert losses[-1] < 0.7 * losses[0]
    assert (saved / "consolidated" / "config.json").is_file()


def test_an_adapter_is_saved_in_the_form_of_peft_and_teaches_the_answers(place: Path, tmp_path: Path) -> None:
    import torch
    import transformers
    from safetensors.torch import load_file

    losses, saved = finetuned("lora", place, tmp_path)
    assert losses[-1] < losses[0]
    settings = json.loads((saved / "adapter_config.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(place / "llama")
    before, weights = loss_of_the_answer(model, place), load_file(saved / "adapter_model.safetensors")
    scale = settings["lora_alpha"] / settings["r"]
    ups = [name for name in weights if name.endswith("lora_B.weight")]
    assert 2 * len(ups) == len(weights) > 0
    with torch.no_grad():
        for name in ups:
            own = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
            model.get_submodule(own).weight += scale * weights[name] @ weights[name.replace("lora_B", "lora_A")]
    assert loss_of_the_answer(model, place) < before
