"""What AutoModel, torch or transformers refuse is refused, with the key that it comes from; what they take is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.rehearse.cases import Stage, model
from tests.recipes.rehearse.forks import Forks

Change = tuple[str, Any]
LORA = {"_target_": "nemo_automodel.components._peft.lora.PeftConfig", "target_modules": ["*_proj"], "dim": 4}
PIPELINE: list[Change] = [
    ("distributed.pp_size", 2),
    ("distributed.pipeline", {"pp_schedule": "1f1b", "pp_microbatch_size": 1}),
    *(("model.config.num_hidden_layers", 2), ("model.config.tie_word_embeddings", False)),
]
MOE = model(
    "Qwen3MoeConfig", "Qwen3MoeForCausalLM", head_dim=8, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2
)

GLM = model(  # its buffers are made on a GPU, whatever device the weights have
    "Glm4MoeConfig", "Glm4MoeForCausalLM", head_dim=8, moe_intermediate_size=32, n_routed_experts=4,
    num_experts_per_tok=2,
)  # fmt: skip
BACKEND = {  # a GPU's own default for the experts
    "_target_": "nemo_automodel.components.models.common.BackendConfig",
    **{"attn": "sdpa", "linear": "torch", "rms_norm": "torch", "experts": "torch_mm", "dispatcher": "torch"},
}

REFUSED: list[tuple[list[Change], str, str]] = [  # what is changed, the key to be named, words of the refusal
    ([("model.config.num_key_value_heads", 3)], "model.config.num_key_value_heads", "must match"),
    ([("optimizer.fused", True), ("optimizer.foreach", True)], "optimizer.foreach", "cannot be `True` together"),
    ([("peft", {**LORA, "dim": 0})], "peft.dim", "division by zero"),
    ([("dist_env.timeout_minutes", 0)], "dist_env.timeout_minutes", "timeout_minutes is 0"),
    ([("checkpoint.checkpoint_dir", "/proc/ckpt")], "checkpoint.checkpoint_dir", "/proc/ckpt"),
    ([("checkpoint.checkpoint_dir", "s3://bucket/x")], "checkpoint.checkpoint_dir", "s3fs"),
    ([("model.config.vocab_size", 100)], "model.config.vocab_size", "embedding of 100 rows"),
    ([("lr_scheduler.lr_decay_style", "cosin")], "lr_scheduler.lr_decay_style", "cosin"),
    ([("wandb", {"project": "x"})], "wandb", "wandb is not installed"),
]
SLOW_REFUSED: list[tuple[list[Change], str, str]] = [
    ([("seed", -1)], "seed", "non-negative"),
    ([("loss_fn.reduction", "mean")], "loss_fn.reduction", "reduction is 'sum'"),
    ([("checkpoint.restore_from", "/no/such/checkpoint")], "checkpoint.restore_from", "/no/such/checkpoint"),
    ([("distributed.cp_size", 2)], "distributed.cp_size", "cp_size=2"),
    ([("dataset.paths", ["DATA/nope"])], "dataset.paths", "nope.bin"),
    ([("seed", 99999999999)], "seed", "2**32"),
    ([("model.config.hidden_size", -32)], "model.config.hidden_size", "negative dimension"),
    ([("model.config.num_attention_heads", 0)], "model.config.num_attention_heads", "by zero"),
    ([("model.config.rope_theta", "ten")], "model.config.rope_theta", "pow()"),
    ([("model.config._target_", "transformers.Qwen2Config")], "model.config._target_", "attention_bias"),
    (
        [("model.config.rope_scaling", {"rope_type": "liner", "factor": 2.0})],
        "model.config.rope_scaling.rope_type",
        "liner",
    ),
    ([("model._target_", "os.system")], "model._target_", "system()"),
    ([("dataset.tokenizer._target_", "os.system")], "dataset.tokenizer._target_", "system()"),
    ([("validation_dataset.num_val_samples", 0)], "validation_dataset.num_val_samples", "no sample"),
    ([("step_scheduler.loss_average_window_steps", 0)], "step_scheduler.loss_average_window_steps", "greater than 0"),
    ([("packed_sequence", {"packed_sequence_size": 64})], "packed_sequence", "ambiguous"),
    ([("dataloader.num_workers", -1)], "dataloader.num_workers", "non-negative"),
    ([("checkpoint.consolidation_timeout_minutes", 0)], "checkpoint.consolidation_timeout_minutes", "greater than 0"),
    ([("optimizer.lr", -1e-3), ("lr_scheduler", None)], "optimizer.lr", "Invalid learning rate"),
    ([("optimizer.betas", [0.9, 1.5])], "optimizer.betas", "beta"),
    ([("optimizer.momentum", 0.9)], "optimizer.momentum", "momentum"),
    ([("dataset.seq_length", 0)], "dataset.seq_length", ""),
]
TAKEN: list[tuple[list[Change], dict[str, Any]]] = [  # what is changed, and the request's own fields
    ([], {}),
    ([("peft", LORA), ("optimizer", {"_target_": "torch.optim.SGD", "lr": 1e-3})], {}),
    ([("distributed", {"strategy": "ddp"})], {}),
    ([("distributed.tp_size", 2), ("dataset.seq_length", 31)], {}),
    (PIPELINE, {}),
    ([("model", MOE), ("distributed.ep_size", 2)], {"cuda": True}),
    ([("model", {**MOE, "backend": BACKEND}), ("distributed.ep_size", 2)], {"cuda": True}),
    ([("model", GLM)], {"cuda": True}),
    ([("model.attn_implementation", "sdpaa"), ("dataset.split", "90,10"), ("optimizer.lr", float("inf"))], {}),
]
SLOW_TAKEN: list[tuple[list[Change], dict[str, Any]]] = [
    ([("compile", {"enabled": True})], {}),
    ([("distributed.dp_replicate_size", 2)], {"world_size": 4}),
    ([("distributed.activation_checkpointing", True)], {}),
    ([("dataloader.num_workers", 2), ("dataloader.persistent_workers", True)], {}),
    ([("checkpoint.is_async", True), ("checkpoint.model_save_format", "torch_save")], {}),
    ([("dataset.paths", ["0.3", "DATA/tiny/megatron/train", "0.7", "DATA/tiny/megatron/valid"])], {}),
    ([("model", model("Qwen2Config", "Qwen2ForCausalLM"))], {}),
    ([("model", model("MistralConfig", "MistralForCausalLM"))], {}),
    ([("model", model("MixtralConfig", "MixtralForCausalLM", num_local_experts=2))], {"cuda": True}),
    ([("step_scheduler.max_steps", None), ("step_scheduler.num_epochs", 3), ("lr_scheduler", None)], {}),
    ([("recipe", "TrainPretrainRecipeForNextTokenPrediction")], {}),
]


OWN = """
import torch

class Own(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(300, 16), torch.nn.Linear(16, outputs)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(16, 16)])

    def forward(self, input_ids, **_):
        if self.head.out_features > 1000:
            raise ValueError("too many outputs for me")
        return self.head(self.layers[0](self.embedding(input_ids)))

def build(outputs):
    return Own(outputs)
"""
ROPE = {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}}
QWEN = model("Qwen3Config", "Qwen3ForCausalLM", head_dim=8, layer_types=["full_attention"])
IN_A_FILE: list[tuple[list[Change], dict[str, Any], str, str]] = [  # changes, fields of the request, the key, words
    ([("distributed.tp_size", 2), ("distributed.tp_plan", "no.such.plan")], {}, "distributed.tp_plan", "no.such.plan"),
    ([("dataset.paths", "DATA/tiny/megatron/train"), ("dataset.split", "90,5,5,10")], {}, "dataset.split", ""),
]
SLOW_IN_A_FILE: list[tuple[list[Change], dict[str, Any], str, str]] = [
    ([("peft", {**LORA, "target_modules": ["*_porj"]})], {}, "peft", "no trainable parameters"),
    ([("model", MOE)], {"cuda": False}, "model.config.architectures", "not compiled with CUDA"),
    ([("model.config.hidden_act", "sillu")], {}, "model.config.hidden_act", "sillu"),
    ([("distributed.cp_size", 2)], {"world_size": 16}, "distributed.cp_size", "cp_size=2"),
    ([("dataloader.prefetch_factor", 2)], {}, "dataloader.prefetch_factor", "multiprocessing"),
    ([("model", QWEN)], {}, "model.config.layer_types", "layer_types"),
    ([("neftune", {"noise_alpha": "x"})], {}, "neftune.noise_alpha", "float"),
    ([("distributed.mp_policy._target_", "torch.distributed.fsdp.No")], {}, "distributed.mp_policy._target_", "No"),
    ([("model.config.rope_parameters", ROPE["rope_parameters"])], {}, "model.config.rope_parameters.rope_type", "yarn"),
    ([("checkpoint.restore_from", "DATA/tiny/tokenizer")], {}, "checkpoint.restore_from", "tokenizer/model"),
    ([("peft", {**LORA, "dropout": 2.0})], {}, "peft.dropout", "between 0 and 1"),
    ([("model.config.head_dim", 7)], {}, "model.config.head_dim", "even"),
    ([("optimizer.weight_decay", -0.1)], {"world_size": 32}, "optimizer.weight_decay", "weight_decay"),
    ([("model", GLM)], {"cuda": False}, "model.config.architectures", "not compiled with CUDA"),
]


def _with_data(stage: Stage, changes: list[Change]) -> list[Change]:
    def placed(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("DATA", str(stage.data))
        return [placed(item) for item in value] if isinstance(value, list) else value

    return [(key, placed(value)) for key, value in changes]


def _slow(cases: list[Any]) -> list[Any]:
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(("changes", "key", "words"), [*REFUSED, *_slow(SLOW_REFUSED)])
def test_a_fault_is_refused_with_its_key(
    forks: Forks, stage: Stage, changes: list[Change], key: str, words: str
) -> None:
    found = forks.rehearse(stage.request(*_with_data(stage, changes)))
    assert found["outcome"] == "refused", found
    refusal = found["refusal"]
    assert words in refusal["text"], refusal
    assert (refusal["key"], refusal["key_by"]) == (key, "override"), refusal
    assert refusal["override"].startswith(key.split(".")[0])


@pytest.mark.parametrize(("changes", "fields"), [*TAKEN, *_slow(SLOW_TAKEN)])
def test_what_automodel_takes_is_not_refused(
    forks: Forks, stage: Stage, changes: list[Change], fields: dict[str, Any]
) -> None:
    found = forks.rehearse(stage.request(*_with_data(stage, changes), **fields))
    assert (found["outcome"], found["refusal"], found["partial"]) == ("passed", None, []), found
    assert set(found["seconds"]) >= {"setup", "data", "step", "schedule", "validation"}


@pytest.mark.parametrize(("changes", "fields", "key", "words"), [*IN_A_FILE, *_slow(SLOW_IN_A_FILE)])
def test_a_fault_in_a_file_is_refused_with_its_key(
    forks: Forks, stage: Stage, changes: list[Change], fields: dict[str, Any], key: str, words: str
) -> None:
    """Without overrides that could be taken back one after the other."""
    content = stage.request(*_with_data(stage, changes), **fields)
    found = forks.rehearse({**content, "base": None, "overrides": []})
    assert found["outcome"] == "refused", found
    assert words in found["refusal"]["text"] and found["refusal"]["key"] == key, found["refusal"]


def test_a_model_in_a_file_of_ones_own(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    """`my/model.py` stands below what travels, as below a job's working directory."""
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "model.py").write_text(OWN)

    def rehearsed(outputs: int) -> dict[str, Any]:
        given = ("model", {"_target_": "my/model.py:build", "outputs": outputs})
        content = stage.request(given, code=[str(tmp_path)])
        return forks.rehearse({**content, "base": None, "overrides": []})

    taken = rehearsed(300)
    assert taken["outcome"] == "passed", taken
    few, many = rehearsed(10)["refusal"], rehearsed(2000)["refusal"]
    assert "out of bounds" in few["text"] and few["key"].startswith("model"), few
    assert "too many outputs for me" in many["text"] and many["key"].startswith("model"), many
    assert many["file"].endswith("my/model.py") and many["line"]


def test_the_last_rank_of_a_pipeline_is_tried_too(forks: Forks, stage: Stage) -> None:
    found = forks.rehearse(stage.request(*PIPELINE, world_size=4))
    assert (found["outcome"], found["ranks"]) == ("passed", [0, 3]), found


def test_nanogpt_with_and_without_a_fault(forks: Forks, stage: Stage) -> None:
    assert forks.rehearse(stage.request(name="nanogpt"))["outcome"] == "passed"
    refusal = forks.rehearse(stage.request(("model.n_head", 5), name="nanogpt"))["refusal"]
    assert refusal["key"] == "model.n_head", refusal


def test_without_overrides_the_key_without_which_it_is_gone_is_named(forks: Forks, stage: Stage) -> None:
    content = stage.request(("optimizer.betas", [0.9, 0.95, 0.5]))
    refusal = forks.rehearse({**content, "base": None, "overrides": []})["refusal"]
    assert (refusal["key"], refusal["key_by"], refusal["override"]) == ("optimizer.betas", "removal", None), refusal
    assert refusal["line"] and refusal["source"] and refusal["file"].endswith(".py")


def test_a_fault_of_the_base_is_no_overrides(forks: Forks, stage: Stage) -> None:
    content = stage.request(("seed", 5))
    for config in (content["config"], content["base"]):
        config["optimizer"]["momentum"] = 0.9
    refusal = forks.rehearse(content)["refusal"]
    assert (refusal["key"], refusal["override"]) == ("optimizer.momentum", None), refusal


def test_data_and_tokenizers_that_cannot_be_seen_are_stood_in_for(forks: Forks, stage: Stage) -> None:
    elsewhere = [("dataset.paths", ["/lustre/corpus/a"]), ("validation_dataset.paths", ["/lustre/corpus/b"])]
    tokenizer = ("dataset.tokenizer.pretrained_model_name_or_path", "openai-community/gpt2")
    found = forks.rehearse(stage.request(*elsewhere, tokenizer))
    assert (found["outcome"], found["refusal"]) == ("partial", None), found
    assert {entry["reason"] for entry in found["partial"]} == {"hub", "synthetic-data"}
    assert "step" in found["seconds"]


def test_a_package_that_only_the_job_may_have_is_a_note(forks: Forks, stage: Stage) -> None:
    missing = ("loss_fn", {"_target_": "nemo_automodel.components.loss.linear_ce.FusedLinearCrossEntropy"})
    assert forks.rehearse(stage.request(missing))["outcome"] == "refused"
    found = forks.rehearse(stage.request(missing, job_python=False))
    assert found["outcome"] == "partial", found
    assert found["partial"][0]["package"] == "cut_cross_entropy", found


def test_memory_is_counted_by_kind(forks: Forks, stage: Stage) -> None:
    counted = forks.rehearse(stage.request(memory=True, world_size=1))["memory"]["rank"]["0"]
    assert set(counted) == {"weights", "gradients", "optimizer", "activations", "peak"}
    assert counted["peak"] == sum(counted[name] for name in counted if name != "peak")
    # float32 weights of 300 x 32 tied embeddings, a layer and norms; AdamW has two moments of each
    assert counted["weights"] >= 4 * 19_936 and counted["optimizer"] >= 2 * 4 * 19_936


def test_a_variable_of_the_job_is_stood_in_for(forks: Forks, stage: Stage) -> None:
    found = forks.rehearse(stage.request(("dataset.paths", "${oc.env:ONLY_THE_JOB_HAS_IT}"), job_python=False))
    assert (found["outcome"], found["partial"][0]["reason"]) == ("partial", "environment"), found
