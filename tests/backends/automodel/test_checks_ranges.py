"""Values at which AutoModel, torch or transformers stop before the first step, and values that they take.

What each did was tried with AutoModel 0.7.0 on two ranks over gloo.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch.backends.automodel.checks import CHECKS
from automodel_launch.plan.finding import Finding
from tests.workbench import Bench, make_bench

CONFIG = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
seed: 1
step_scheduler: {global_batch_size: 8, local_batch_size: 2, max_steps: 4}
model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_config
  config: {_target_: transformers.LlamaConfig, vocab_size: 300, hidden_size: 32, num_hidden_layers: 2}
dataset:
  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining
  paths: [/data/a]
  seq_length: 32
  splits_to_build: train
  tokenizer:
    _target_: nemo_automodel._transformers.auto_tokenizer.NeMoAutoTokenizer.from_pretrained
    pretrained_model_name_or_path: a/b
distributed: {strategy: fsdp2}
loss_fn: {_target_: nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy}
dataloader: {num_workers: 0}
optimizer: {_target_: torch.optim.AdamW, lr: 1.0e-3, betas: [0.9, 0.95]}
lr_scheduler: {lr_decay_style: cosine}
checkpoint: {enabled: true, checkpoint_dir: "${run.dir}/checkpoints"}
"""
C = "+model.config."
WD = "+lr_scheduler."


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("ranges")).trains()


def _found(bench: Bench, *texts: str) -> list[Finding]:
    plan = bench.planned(CONFIG, *texts)
    return [one for check in CHECKS for one in check(plan) if one.code not in ("no-data", "relative-path")]


def _errors(bench: Bench, *texts: str) -> list[tuple[str, str]]:
    return [(one.code, f"{one.message} {one.fix}") for one in _found(bench, *texts) if one.level == "error"]


def test_the_config_itself_has_none(bench: Bench) -> None:
    assert _errors(bench) == []


@pytest.mark.parametrize(
    ("texts", "code", "words"),
    [
        (["optimizer.betas=[0.9]"], "bad-value", "two numbers"),
        (["optimizer.betas=[0.9,1.0]"], "bad-value", "below 1"),
        (["+optimizer.weight_decay=-0.1"], "bad-value", "negative"),
        (["+optimizer.weight_decay=.inf"], "bad-value", "no number to compute with"),
        (["+optimizer.eps=-1e-8"], "bad-value", "negative"),
        (["+optimizer.eps=.nan"], "bad-value", "is no number"),
        (["optimizer={_target_: torch.optim.SGD, lr: 0.1, nesterov: true}"], "bad-value", "momentum=0.9"),
        (["optimizer={_target_: torch.optim.LBFGS, lr: 0.1}"], "bad-value", "torch.optim.AdamW"),
        (["optimizer={_target_: torch.optim.SparseAdam, lr: 0.1}"], "bad-value", "sparse"),
        (["optimizer.lr=-1e-3", "~lr_scheduler"], "lr-range", "optimizer.lr=0.001"),
        (["optimizer.lr=.inf"], "lr-range", "NaN"),
        ([f"{WD}start_wd=0.2", f"{WD}end_wd=0.1", f"{WD}wd_incr_style=linear"], "bad-value", "only rise"),
        ([f"{WD}start_wd=0.1", f"{WD}end_wd=0.2"], "bad-value", "+lr_scheduler.wd_incr_style=linear"),
        ([f"{WD}start_wd=-0.1"], "bad-value", "start_wd = -0.1"),
        (["+checkpoint.max_recent_checkpoints=0"], "not-positive", "null for all"),
        (["+dataloader.prefetch_factor=2"], "bad-value", "dataloader.num_workers=2"),
        (["+dataloader.prefetch_factor=0", "dataloader.num_workers=2"], "not-positive", "prefetch_factor=2"),
        (["+dist_env={backend: mpi}"], "bad-value", "dist_env.backend=nccl"),
        (["+dist_env={timeout_minutes: .inf}"], "not-positive", "minutes"),
        (["seed=4294967295"], "bad-value", "0 to 4,294,967,294"),
        (["+dataset.seed=-1"], "bad-value", "dataset.seed=1234"),
        (["dataset.seq_length=1"], "not-positive", "at least 2"),
        (["dataset.tokenizer=null"], "missing-key", "builds no Megatron data without one"),
        (["+dataset.split='0,100,0'"], "no-split", "leaves nothing for train"),
        (["+dataset.split='0,0'"], "no-split", "leaves nothing for train"),
        ([f"{C}rms_norm_eps=-1.0e-5"], "bad-value", "has to be 0 or more"),
        ([f"{C}initializer_range=2.0"], "bad-value", "from 0 to 1"),
        ([f"{C}attention_dropout=1.5"], "bad-value", "from 0 to 1"),
        (["model.config.num_hidden_layers=0"], "not-positive", "at least 1"),
        ([f"{C}num_key_value_heads=0"], "not-positive", "at least 1"),
        ([f"{C}head_dim=7"], "bad-value", "head_dim=8"),
        ([f"{C}pad_token_id=300"], "bad-value", "an id below 300"),
        ([f"{C}hidden_act=siluu"], "bad-value", "hidden_act=silu"),
        ([f"{C}rope_scaling={{rope_type: linear}}"], "missing-key", "linear needs factor"),
        ([f"{C}rope_scaling={{rope_type: linear, factor: 0.0}}"], "not-positive", "at least 1"),
        ([f"{C}rope_scaling={{type: liner, factor: 2.0}}"], "bad-value", "rope_scaling.type=linear"),
        ([f"{C}layer_types=[full_attention]"], "bad-value", "1 entries for 2 layers"),
        (["+step_scheduler.preemption_signal=SIGKILL"], "bad-value", "SIGTERM"),
        (["+step_scheduler.preemption_signal=99"], "bad-value", "SIGTERM"),
        (["distributed={activation_checkpointing: [full]}"], "wrong-type", "true or false"),
        (["+model.torch_dtype=int8"], "bad-value", "nothing is trained in that type"),
        (["optimizer._target_=“torch.optim.AdamW”"], "unknown-target", "optimizer._target_=torch.optim.AdamW"),
        (["+peft={_target_: nemo_automodel.components._peft.lora.PeftConfig, dropout: 2.0}"], "bad-value", "share"),
    ],
)  # fmt: skip
def test_a_value_that_is_refused_is_found(bench: Bench, texts: list[str], code: str, words: str) -> None:
    found = _errors(bench, *texts)
    assert [text for known, text in found if known == code and words in text], found


@pytest.mark.parametrize(
    "texts",
    [
        [f"{C}pad_token_id=-300"], [f"{C}pad_token_id=-1"], [f"{C}attention_dropout=1.0"], [f"{C}rms_norm_eps=0.0"],
        [f"{C}initializer_range=0.0"], [f"{C}rope_scaling={{factor: 8.0}}"], [f"{C}hidden_act=gelu_new"],
        [f"{C}rope_scaling={{type: yarn, factor: 0.5}}"], [f"{C}num_key_value_heads=null"],
        ["+dataset.split='90,10'"], ["+dataset.split=train"], ["+optimizer.eps=0.0"], ["+optimizer.fused=true"],
        ["+optimizer.foreach=true"], ["dataloader.num_workers=2", "+dataloader.prefetch_factor=4"],
        ["optimizer={_target_: torch.optim.RMSprop, lr: 0.001}"], ["seed=4294967290"],
        ["+step_scheduler.preemption_signal=[SIGTERM, usr1, 15]"], ["+model.torch_dtype=float64"],
        ["+dist_env={timeout_minutes: 0.5}"], [f"{WD}start_wd=0.1", f"{WD}end_wd=0.1"],
        ["optimizer.betas=['0.9','0.95']"], ["distributed={activation_checkpointing: selective}"],
    ],
)  # fmt: skip
def test_a_value_that_is_taken_is_no_error(bench: Bench, texts: list[str]) -> None:
    assert _errors(bench, *texts) == []


def test_what_needs_a_gpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    offload = "distributed={offload_policy: {_target_: torch.distributed.fsdp.CPUOffloadPolicy}}"
    for count, wanted in ((0, 1), (8, 0)):
        monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda count=count: count)
        told = [text for _, text in _errors(bench, offload, "+optimizer.capturable=true") if "needs a GPU" in text]
        assert len(told) == 2 * wanted


def _fixes(bench: Bench, code: str, *texts: str) -> list[str | None]:
    plan = bench.plan(*texts, config="t")
    return [one.fix for check in CHECKS for one in check(plan) if one.code == code]


@pytest.mark.parametrize(
    ("count", "processes", "texts", "told"),
    [
        (1, 1, ["+model.torch_dtype=float32"], True),
        (0, 1, ["+model.torch_dtype=float32"], False),
        (2, 2, ["+model.torch_dtype=float32"], False),
        (1, 1, ["+model.torch_dtype=bfloat16"], False),
        (1, 1, ["+model.torch_dtype=float32", "distributed={mp_policy: {param_dtype: float32}}"], False),
        (1, 1, ["+model.torch_dtype=float32", "distributed={autocast_dtype: bfloat16}"], False),
        (1, 1, ["+model.torch_dtype=float32", "distributed={strategy: ddp}"], False),  # it makes them bfloat16
        (2, 2, ["+model.torch_dtype=float32", "distributed={strategy: ddp}"], True),
        (2, 2, ["+model.torch_dtype=bfloat16", "distributed={strategy: ddp}"], False),
        (2, 2, ["+model.torch_dtype=float32", "distributed={strategy: ddp, autocast_dtype: bfloat16}"], False),
        (2, 2, ["+model.torch_dtype=float32", "distributed={strategy: megatron_fsdp}"], False),
    ],
)
def test_what_makes_layers_compute_in_the_type_of_their_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int, processes: int, texts: list[str], told: bool
) -> None:
    """As seen on an H100: docs/gpu.md."""
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: count)
    found = _fixes(bench, "full-precision", *texts, f"+run.env.nproc_per_node={processes}")
    assert found == (["+distributed.autocast_dtype=bfloat16"] if told else [])


@pytest.mark.parametrize(
    ("count", "processes", "texts", "told"),
    [
        (1, 1, ["+model.torch_dtype=float32", "distributed={strategy: ddp}"], True),
        (1, 1, ["+model.torch_dtype=float32", "distributed={strategy: megatron_fsdp}"], True),
        (1, 1, ["+model.torch_dtype=float32"], False),
        (1, 1, ["+model.torch_dtype=bfloat16", "distributed={strategy: ddp}"], False),
        (2, 2, ["+model.torch_dtype=float32", "distributed={strategy: ddp}"], False),
        (0, 1, ["+model.torch_dtype=float32", "distributed={strategy: ddp}"], False),
    ],
)
def test_weights_that_one_process_keeps_in_bfloat16(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int, processes: int, texts: list[str], told: bool
) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: count)
    found = _fixes(bench, "rounded-weights", *texts, f"+run.env.nproc_per_node={processes}")
    assert found == (["distributed.strategy=fsdp2 +distributed.autocast_dtype=bfloat16"] if told else [])


def test_autocast_in_a_type_that_does_not_train(bench: Bench) -> None:
    """The gradients of float16 would need a scaler, and nothing is trained in whole numbers."""
    for value, words in (
        ("float16", "scales no gradients"),
        ("torch.half", "scales no gradients"),
        ("int8", "in that"),
    ):
        told = [text for _, text in _errors(bench, f"distributed={{autocast_dtype: {value}}}")]
        assert [text for text in told if words in text and "distributed.autocast_dtype" in text], (value, told)
    assert not [t for _, t in _errors(bench, "distributed={autocast_dtype: torch.bfloat16}") if "autocast" in t]


def test_a_checkpoint_to_begin_from(bench: Bench, tmp_path: Path) -> None:
    def told(path: Path) -> list[str]:
        found = _errors(bench, f"+checkpoint.restore_from={path}")
        return [text for code, text in found if code == "no-model"]

    assert "there is no such directory" in told(tmp_path / "none")[0]
    (tmp_path / "file").write_text("")
    assert "is no directory" in told(tmp_path / "file")[0]
    assert "holds no model and no optim/" in told(tmp_path)[0]
    for part in ("model", "optim"):
        (tmp_path / part).mkdir()
    assert told(tmp_path) == [] == told(Path("LATEST"))
