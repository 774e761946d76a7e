"""A resume whose checkpoint does not fit any more; each change was tried with AutoModel 0.7.0."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.jobs import rundir
from tests.workbench import Bench, make_bench

CONFIG = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler: {max_steps: 4}
model: {config: {_target_: transformers.LlamaConfig, vocab_size: 300, hidden_size: 32, num_hidden_layers: 2}}
dataloader: {num_workers: 0}
distributed: {strategy: fsdp2}
optimizer: {_target_: torch.optim.AdamW, lr: 1.0e-3}
checkpoint: {checkpoint_dir: "CKPT"}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = make_bench(tmp_path).trains()
    plan = made.planned(CONFIG.replace("CKPT", "${run.dir}/checkpoints"), name="r")
    rundir.begin(plan.run_dir, plan.trained)
    Path(plan.run_dir, "history.jsonl").write_text("")
    Path(plan.run_dir, "checkpoints", "epoch_0_step_1", "model").mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model.config.hidden_size=64", "hidden_size was 32"),
        ("model.config.num_hidden_layers=1", "num_hidden_layers was 2"),
        ("model.config._target_=transformers.Qwen2Config", "the weights of its checkpoint of step 1"),
        ("+model.config.attention_bias=true", "is True"),
        ("optimizer._target_=torch.optim.SGD", "the optimizer's states"),
        ("+optimizer.amsgrad=true", "the optimizer's states"),
        ("dataloader.num_workers=2", "the positions in the data"),
        ("distributed.strategy=ddp", "distributed.strategy=fsdp2"),
    ],
)
def test_what_a_checkpoint_does_not_fit(bench: Bench, text: str, words: str) -> None:
    plan = bench.plan(text, config="t", name="r")
    found = [one for one in checks.run(plan) if (one.code, one.level) == ("run-differs", "error")]
    assert len(found) == 1 and words in f"{found[0].message} {found[0].fix}"


@pytest.mark.parametrize(
    "text",
    ["optimizer._target_=torch.optim.Adam", "optimizer.lr=1.0", "+optimizer.fused=true", "+model.config.head_dim=8",
     "+model.config.attention_bias=false", "step_scheduler.max_steps=8", "+model.torch_dtype=bfloat16"],
)  # fmt: skip
def test_what_it_fits(bench: Bench, text: str) -> None:
    plan = bench.plan(text, config="t", name="r")
    assert [one for one in checks.run(plan) if (one.code, one.level) == ("run-differs", "error")] == []


def test_checkpoints_of_another_run(bench: Bench, tmp_path: Path) -> None:
    """A new run would go on with them in silence."""
    (tmp_path / "shared" / "epoch_0_step_7" / "model").mkdir(parents=True)
    plan = bench.planned(CONFIG.replace("CKPT", str(tmp_path / "shared")), name="s")
    (one,) = [one for one in checks.run(plan) if one.code == "resumes"]
    assert one.level == "warning" and "of step 7, and run s has not begun" in one.message
