"""The memory estimate, the models' parameters behind it, the GPUs' table and the note on Megatron-Bridge."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import checks
from automodel_launch.backends.automodel import sizes
from automodel_launch.backends.automodel.checks import routing
from automodel_launch.backends.automodel.model import compute, memory
from automodel_launch.backends.automodel.model import parameters as model_parameters
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.backends.automodel.model.memory import Setting
from automodel_launch.backends.automodel.model.parallelism import Layout
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.checks import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpu_models
from tests.conftest import ROOT
from tests.workbench import Bench, make_bench

# The numbers of the models' published config.json.
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_30B = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "torch_dtype": "bfloat16",
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "vocab_size": 129280,
}  # fmt: skip
GPT2 = {"model_type": "gpt2"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _shape(numbers: dict[str, Any]) -> Shape:
    shape = model_shape._shape(numbers, "config.json", None)
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("numbers", "total"),
    [
        (LLAMA_8B, 8_030_261_248),  # published as 8.03 billion
        (QWEN3_30B, 30_532_122_624),  # 30.5 billion
        (DEEPSEEK_V3, 671_026_404_352),  # 671 billion
        (GPT2, 124_439_808),  # 124 million
    ],
    ids=["llama3-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt2"],
)
def test_parameters_of_published_models(numbers: dict[str, Any], total: int) -> None:
    parameters = model_parameters.count(_shape(numbers))
    assert parameters is not None
    assert parameters.total == total


SMALL = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "moe_intermediate_size": 32,
    "n_routed_experts": 4, "n_shared_experts": 2, "first_k_dense_replace": 1, "num_key_value_heads": 4,
    "n_group": 2, "topk_group": 1,
}  # fmt: skip


PUBLISHED = {
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
}
"""Parameters, as the safetensors on the hub have them (with shared weights once)."""


@pytest.mark.parametrize("repository", PUBLISHED)
def test_a_published_model_is_known_without_its_config_json(repository: str) -> None:
    shape = model_shape.read({"model": {"pretrained_model_name_or_path": repository}}, read_files=False)
    assert shape is not None
    parameters = model_parameters.count(shape)
    assert parameters is not None
    assert parameters.total == PUBLISHED[repository]
    assert shape.where == f"{repository}, as published"


def test_operations_of_a_token() -> None:
    """Llama-3-8B: 6 for each of 7.5 billion parameters (the input embedding multiplies nothing), and attention's."""
    shape = _shape(LLAMA_8B)
    parameters = model_parameters.count(shape)
    assert parameters is not None
    attention = 12 * 32 * 4096 * 8192 / 2
    assert compute.per_token(shape, parameters, 8192) == 6 * (8_030_261_248 - 128256 * 4096) + attention


def test_frozen_weights_have_no_gradients() -> None:
    shape = _shape(LLAMA_8B)
    parameters = model_parameters.count(shape)
    assert parameters is not None
    whole, adapters = (compute.per_token(shape, parameters, 0, trained) for trained in (1.0, 0.0))
    assert adapters == pytest.approx(whole * 4 / 6)


def test_experts_count_by_those_that_a_token_is_sent_to() -> None:
    shape = _shape(QWEN3_30B)
    parameters = model_parameters.count(shape)
    assert parameters is not None
    assert compute.active(shape, parameters) == pytest.approx(3.3e9 - 151936 * 2048, rel=0.02)  # A3B: 3.3 billion


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        ("mistral", {}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 32}),
        ("qwen3", {"attention_bias": True}),
        ("qwen3_moe", {"num_experts": 4, "moe_intermediate_size": 32, "mlp_only_layers": [0]}),
        ("mixtral", {"num_local_experts": 4}),
        ("deepseek_v3", {**LATENT, "q_lora_rank": 16}),
        ("deepseek_v3", {**LATENT, "q_lora_rank": None}),
        ("gemma3_text", {"head_dim": 16}),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32}),
    ],
)
def test_parameters_are_those_of_transformers(family: str, extra: dict[str, Any]) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, **{**({} if family == "gpt2" else SMALL), **extra})
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    parameters = model_parameters.count(_shape(config.to_dict()))
    assert parameters is not None
    assert parameters.total == sum(p.numel() for p in model.parameters())


def test_every_family_is_compared_with_transformers() -> None:
    marks = test_parameters_are_those_of_transformers.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(model_parameters.FAMILIES)


def test_parameters_of_this_projects_models() -> None:
    """The tiny model's, as its config's head says; GPT-2's, as AutoModel builds it (50,304 ids)."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = yaml.safe_load((ROOT / "configs/pretrain/tiny.yaml").read_text())
    shape = model_shape.read(config)
    assert shape is not None
    own = {key: value for key, value in config["model"]["config"].items() if not key.startswith("_")}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**own))
    parameters = model_parameters.count(shape)
    assert parameters is not None
    assert parameters.total == sum(p.numel() for p in model.parameters())
    shape = model_shape.read(yaml.safe_load((ROOT / "configs/pretrain/nanogpt.yaml").read_text()))
    parameters = model_parameters.count(shape) if shape else None
    assert parameters is not None
    assert parameters.total == 124_439_808 + (50304 - 50257) * 768


PIPELINED = {"layout": Layout(4, 1, 1, 2, 1, 4, 1), "micro_batches": 16, "sequence": 4096}


def _setting(**changes: Any) -> Setting:
    base = Setting(Layout(1, 1, 1, 1, 1, 1, 1), "fsdp2", 128, 2, micro_batches=1, stored=4, compute=2, recompute="none")
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("family", "extra"), [("llama", {}), ("llama", {"num_key_value_heads": 1}), ("qwen3", {"head_dim": 32})]
)
@pytest.mark.parametrize("compute", [2, 4])
def test_activations_are_what_a_layer_saves(family: str, extra: dict[str, Any], compute: int) -> None:
    """Counted by autograd's own hooks; the difference of two depths leaves the ends of the model out."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    def saved(layers: int) -> int:
        numbers = {**SMALL, **extra, "num_hidden_layers": layers, "use_cache": False}
        config = transformers.AutoConfig.for_model(family, attn_implementation="sdpa", **numbers)
        model = transformers.AutoModel.from_config(config).to(torch.bfloat16 if compute == 2 else torch.float32)
        own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        kept: dict[int, Any] = {}

        def pack(tensor: Any) -> Any:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(input_ids=torch.zeros(2, 128, dtype=torch.long))
        assert output is not None
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    real = (saved(5) - saved(1)) / 4
    shape = _shape({"model_type": family, **SMALL, **extra})
    assert memory.layer_activations(shape, _setting(compute=compute)) == pytest.approx(real, rel=0.1)


def test_autocast_keeps_copies_of_the_weights() -> None:
    """Counted by autograd's own hooks: what is saved in a weight's shape, and is not that weight."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    numbers = {**SMALL, "num_hidden_layers": 2, "use_cache": False, "tie_word_embeddings": False}
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("llama", **numbers))
    shapes = {tuple(weight.shape) for weight in model.parameters() if weight.dim() == 2}
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        if tensor.dtype == torch.bfloat16 and {tuple(tensor.shape), tuple(tensor.shape[::-1])} & shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(input_ids=torch.zeros(1, 7, dtype=torch.long))
    shape = _shape({"model_type": "llama", **numbers})
    parameters = model_parameters.count(shape)
    assert parameters is not None
    for setting, wanted in (
        (_setting(strategy="single"), sum(kept.values())),
        (_setting(strategy="ddp", compute=4), 0),
    ):
        found = memory.estimate(shape, parameters, setting).gathered
        assert found == pytest.approx(wanted + (parameters.embedding * 2 if wanted else 0), rel=0.02)


def _gib(numbers: dict[str, Any], **changes: Any) -> float:
    shape = _shape(numbers)
    parameters = model_parameters.count(shape)
    assert parameters is not None
    return memory.estimate(shape, parameters, _setting(**{"sequence": 4096, "micro": 1, **changes})).total / 2**30


def test_states_are_sixteen_bytes_a_parameter() -> None:
    """ZeRO's 16 bytes with float32 weights; sharding divides them (arXiv 1910.02054, figure 1)."""
    shape = _shape(LLAMA_8B)
    parameters = model_parameters.count(shape)
    assert parameters is not None
    found = memory.estimate(shape, parameters, _setting(strategy="ddp"))
    assert found.weights + found.optimizer == 12 * parameters.total
    found = memory.estimate(shape, parameters, _setting(layout=Layout(8, 1, 1, 1, 1, 8, 1)))
    assert found.weights + found.optimizer == 12 * parameters.total / 8


@pytest.mark.parametrize(
    ("numbers", "less", "more"),
    [
        (LLAMA_8B, {"recompute": "full"}, {"recompute": "selective"}),
        (LLAMA_8B, {"recompute": "selective"}, {"recompute": "none"}),
        (LLAMA_8B, {"micro": 1}, {"micro": 2}),
        (LLAMA_8B, {"sequence": 2048}, {"sequence": 4096}),
        (LLAMA_8B, {"stored": 2}, {"stored": 4}),
        (LLAMA_8B, {"full_logits": False}, {}),
        (LLAMA_8B, {"moments": 1}, {}),
        (LLAMA_8B, {"layout": Layout(16, 1, 1, 1, 1, 16, 1)}, {"layout": Layout(8, 1, 1, 1, 1, 8, 1)}),
        (LLAMA_8B, {"layout": Layout(8, 2, 1, 1, 1, 8, 1)}, {"layout": Layout(8, 1, 1, 1, 1, 8, 1)}),
        (LLAMA_8B, {"layout": Layout(8, 1, 2, 1, 1, 16, 1)}, {"layout": Layout(8, 1, 1, 1, 1, 8, 1)}),
        (LLAMA_8B, {"layout": Layout(8, 1, 1, 4, 1, 8, 1)}, {"layout": Layout(8, 1, 1, 1, 1, 8, 1)}),
        (LLAMA_8B, {"sequence_parallel": True, "layout": Layout(1, 8, 1, 1, 1, 1, 1)},
         {"layout": Layout(1, 8, 1, 1, 1, 1, 1)}),
        (LLAMA_8B, {"micro_batches": 4, "defers_gradients": False, "layout": Layout(8, 1, 1, 1, 1, 8, 1)},
         {"micro_batches": 4, "layout": Layout(8, 1, 1, 1, 1, 8, 1)}),
        (LLAMA_8B, {**PIPELINED, "pipelined": 8}, {**PIPELINED, "pipelined": 16}),
        (LLAMA_8B, {**PIPELINED, "pipelined": 16}, {**PIPELINED, "pipelined": 16, "fills": True}),
        (LLAMA_8B, {}, {"stays_gathered": True}),
        (LLAMA_8B, {}, {"strategy": "ddp"}),
        (QWEN3_30B, {"layout": Layout(8, 1, 1, 1, 8, 8, 1)}, {"layout": Layout(8, 1, 1, 1, 4, 8, 2)}),
    ],
)  # fmt: skip
def test_what_makes_it_less(numbers: dict[str, Any], less: dict[str, Any], more: dict[str, Any]) -> None:
    assert _gib(numbers, **less) < _gib(numbers, **more)


# --- GPUs


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("H100", 80), ("h100", 80), ("NVIDIA H100 80GB HBM3", 80), ("A100-40", 40), ("A100-SXM4-80GB", 80),
        ("NVIDIA A100-PCIE-40GB", 40), ("H200", 141), ("B200", 180), ("GB200", 186), ("L40S", 48),
        ("RTX 4090", 24), ("A100", None), ("H1000", None), ("MI300X", None), ("", None),
    ],
)  # fmt: skip
def test_gpus_by_name(name: str, size: int | None) -> None:
    assert gpu_models.memory(name) == size


# --- the check


def _plan(bench: Bench, ranks: int, model: Any, gpu: str | None, *texts: str) -> Plan:
    config = {
        "step_scheduler": {"global_batch_size": 256, "local_batch_size": 1, "max_steps": 10},
        "distributed": {"tp_size": 1, "ep_size": 1, "activation_checkpointing": False},
        "model": model,
        "dataset": {"_target_": "a.B", "seq_length": 4096},
    }
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items())
    gpus = [f"run.env.gpu={gpu}"] if gpu else []
    return bench.planned(lines, f"run.env.nproc_per_node={ranks}", *gpus, *texts)


def _pretrained(folder: Path, numbers: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(numbers))
    target = "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained"
    return {"_target_": target, "pretrained_model_name_or_path": str(folder), "torch_dtype": dtype}


def _memory(plan: Plan) -> Finding:
    (found,) = [finding for finding in checks.run(plan) if finding.code.startswith("memory")]
    return found


def test_a_model_that_fits(bench: Bench, tmp_path: Path) -> None:
    found = _memory(_plan(bench, 8, _pretrained(tmp_path / "m", LLAMA_8B), "H200"))
    assert (found.level, found.code) == ("note", "memory")
    for word in (
        "8.03 billion parameters",
        str(tmp_path / "m" / "config.json"),
        "gpu = 'H200' (override run.env) has 141",
        "override",
    ):
        assert word in found.message


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        ([], "distributed.activation_checkpointing=true"),
        (["~distributed.activation_checkpointing"], "+distributed.activation_checkpointing=true"),
        (
            ["~distributed.activation_checkpointing", "+distributed.activation_checkpointing=selective"],
            "distributed.activation_checkpointing=full",
        ),
    ],
)
def test_a_model_that_does_not_fit_and_what_mends_it(
    bench: Bench, tmp_path: Path, texts: list[str], first: str
) -> None:
    texts = [*texts, "dataset.seq_length=12288"]
    model = _pretrained(tmp_path / "m", LLAMA_8B)
    found = _memory(_plan(bench, 8, model, "H100", *texts))
    assert (found.level, found.code) == ("warning", "memory")
    fix = next(fix for fix in (found.fix or "").split("; or ") if fix.startswith(first))
    mended = _memory(_plan(bench, 8, model, "H100", *texts, *fix.split(" (about")[0].split()))
    assert mended.level == "note"
    stated = re.search(r"about (\d+) GiB", fix)
    assert stated is not None
    assert f"need about {stated[1]} GiB" in mended.message


def test_every_fix_fits_when_it_is_taken(bench: Bench, tmp_path: Path) -> None:
    model = _pretrained(tmp_path / "m", LLAMA_8B)
    texts = ["step_scheduler.local_batch_size=4", "dataset.seq_length=8192"]
    found = _memory(_plan(bench, 8, model, "H100", *texts))
    fixes = [fix.split(" (about")[0].split() for fix in (found.fix or "").split("; or ")]
    assert len(fixes) == 3
    for fix in fixes:
        kept = [text for text in texts if not any(text.partition("=")[0] in change for change in fix)]
        assert _memory(_plan(bench, 8, model, "H100", *kept, *fix)).level == "note"


def test_a_pipeline_keeps_the_logits_of_a_whole_batch(bench: Bench, tmp_path: Path) -> None:
    """Fewer sequences in a batch are the fix; the micro-batches of a step stay as many."""
    wide = {**LLAMA_8B, "vocab_size": 128256}
    pipeline = "+distributed.pipeline={pp_schedule: 1f1b, pp_microbatch_size: 1, layers_per_stage: 16}"
    texts = ("+distributed.pp_size=2", pipeline, "step_scheduler.local_batch_size=64")
    plan = _plan(bench, 8, _pretrained(tmp_path / "m", wide), "H200", *texts)
    found = _memory(plan)
    assert found.level == "warning" and "logits 12" in found.message, found.message
    (least, *_) = str(found.fix).split(" (about")
    assert least.startswith("step_scheduler.local_batch_size="), found.fix
    fitting = _memory(_plan(bench, 8, _pretrained(tmp_path / "m", wide), "H200", *texts[:2], least))
    assert fitting.level == "note", fitting.message


def test_a_model_that_needs_more_nodes(bench: Bench, tmp_path: Path) -> None:
    model = _pretrained(tmp_path / "m", {**LLAMA_8B, "num_hidden_layers": 80, "hidden_size": 8192})
    found = _memory(_plan(bench, 8, model, "H100", "step_scheduler.global_batch_size=8"))
    assert "nodes, or distributed.tp_size" in (found.fix or "")
    found = _memory(_plan(bench, 8, model, "H100"))
    assert "run.env.nodes=" in (found.fix or "")


def test_the_default_config_fits_its_eight_gpus_barely(bench: Bench, tmp_path: Path) -> None:
    """As the head of configs/pretrain/default.yaml says: only with activation checkpointing, and little to spare."""
    model = _pretrained(tmp_path / "m", QWEN3_30B)
    with_it = _memory(
        _plan(bench, 8, model, "H100", "distributed.ep_size=8", "distributed.activation_checkpointing=true")
    )
    without = _memory(_plan(bench, 8, model, "H100", "distributed.ep_size=8"))
    assert "need about 76 GiB" in with_it.message
    assert without.level == "warning"


@pytest.mark.parametrize(
    ("model", "gpu", "words"),
    [
        ({"pretrained_model_name_or_path": "no-such/model"}, "H100", ["no-such/model", "not on this machine"]),
        ({"config": {"_target_": "transformers.MambaConfig", "hidden_size": 8, "num_hidden_layers": 2}}, "H100",
         ["'mamba'", "llama"]),
        ({"config": {"_target_": "transformers.LlamaConfig"}}, "H100", ["model's sizes", "config.json"]),
        ({"_target_": "my.module.build"}, "H100", ["section model:"]),
        ({"_target_": "x.build_gpt2_model"}, "A100", ["'A100'", "A100-40, A100-80"]),
    ],
)  # fmt: skip
def test_what_cannot_be_estimated_is_a_note(bench: Bench, model: Any, gpu: str, words: list[str]) -> None:
    found = _memory(_plan(bench, 2, model, gpu))
    assert (found.level, found.code) == ("note", "memory-unknown")
    for word in words:
        assert word in f"{found.message} {found.fix}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("+recipe=KnowledgeDistillationRecipeForNextTokenPrediction", "a teacher"),
        ("+quantization={load_in_4bit: true}", "four or eight bits"),
    ],
)
def test_what_the_formula_does_not_have_is_not_estimated(bench: Bench, tmp_path: Path, text: str, why: str) -> None:
    lora = "+peft={_target_: nemo_automodel.components._peft.lora.PeftConfig, target_modules: ['*_proj']}"
    found = _memory(_plan(bench, 8, _pretrained(tmp_path / "m", LLAMA_8B), "H200", lora, text))
    assert (found.level, found.code, why in found.message) == ("note", "memory-unknown", True), found.message


def test_rows_that_conversations_are_packed_into_count(bench: Bench, tmp_path: Path) -> None:
    """A row of 16,384 tokens takes what a sequence of 16,384 does; Megatron data are not packed again."""
    model = _pretrained(tmp_path / "m", LLAMA_8B)
    packed, megatron = (
        "+packed_sequence.packed_sequence_size=16384",
        "dataset._target_=nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining",
    )
    long, rows, plain, again = (
        _plan(bench, 8, model, "H200", *texts)
        for texts in (("dataset.seq_length=16384",), (packed,), (), (packed, megatron))
    )
    assert _memory(rows).message == _memory(long).message
    assert sizes.of(rows, with_data=False).tokens_per_step == 256 * 16384
    assert _memory(again).message == _memory(plain).message != _memory(rows).message


def test_adapters_take_less_than_half(bench: Bench, tmp_path: Path) -> None:
    lora = "+peft={_target_: nemo_automodel.components._peft.lora.PeftConfig, target_modules: ['*_proj']}"
    model = _pretrained(tmp_path / "m", LLAMA_8B)
    whole, adapters = (_memory(_plan(bench, 2, model, "H100", *texts)).message for texts in ((), (lora,)))
    found = [int(re.search(r"need about (\d+) GiB", text)[1]) for text in (whole, adapters)]  # type: ignore[index]
    assert found[1] < found[0] / 2, found


def test_without_a_gpu_in_the_profile_nothing_is_said(bench: Bench) -> None:
    plan = _plan(bench, 2, {"_target_": "x.build_gpt2_model"}, None)
    assert [finding for finding in checks.run(plan) if finding.code.startswith("memory")] == []


def test_a_hub_id_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps(LLAMA_8B))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = {"model": {"pretrained_model_name_or_path": "org/name"}}
    shape = model_shape.read(config)
    assert shape is not None
    assert shape.family == "llama"
    assert model_shape.read({"model": {"pretrained_model_name_or_path": "org/other"}}) is None
    kept = {"model": {"config": {"_target_": "transformers.AutoConfig.from_pretrained", **config["model"]}}}
    assert model_shape.read(kept) == shape


@pytest.mark.parametrize("text", ["", "[]", "{}", "\0", '{"model_type": 5}', '{"model_type": "llama"}'])
def test_a_config_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert model_shape.read({"model": {"pretrained_model_name_or_path": str(tmp_path)}}) is None


# --- Megatron-Bridge


def _bridge(bench: Bench, folder: Path, numbers: dict[str, Any], nodes: int, *texts: str) -> list[Finding]:
    plan = _plan(bench, 8, _pretrained(folder, numbers), None, *texts)
    return list(routing.another(replace(plan, profile=plan.profile.model_copy(update={"nodes": nodes}))))


def test_large_models_on_many_nodes_are_pointed_to_megatron_bridge(bench: Bench, tmp_path: Path) -> None:
    (found,) = _bridge(bench, tmp_path / "m", DEEPSEEK_V3, 32, "distributed.ep_size=64")
    assert (found.level, found.code) == ("note", "other-backend")
    for word in ("deepseek_v3", "671 billion", "world size 256 (32 nodes x 8)", "ep 64"):
        assert word in found.message
    assert "pretrain-bridge --recipe deepseek_v3_pretrain_config" in (found.fix or "")


@pytest.mark.parametrize(
    ("numbers", "nodes", "texts", "said"),
    [
        (DEEPSEEK_V3, 4, [], False),
        (LLAMA_8B, 16, [], False),
        (LLAMA_8B, 64, [], False),
        (LLAMA_8B, 64, ["distributed.tp_size=4"], True),
        (LLAMA_8B, 16, ["distributed.tp_size=8", "+distributed.pp_size=4"], True),
        (QWEN3_30B, 8, ["distributed.ep_size=8"], False),
        (QWEN3_30B, 8, ["distributed.ep_size=16"], True),
        ({**LLAMA_8B, "model_type": "my_own"}, 64, ["distributed.tp_size=4"], False),
    ],
)
def test_others_are_not(
    bench: Bench, tmp_path: Path, numbers: dict[str, Any], nodes: int, texts: list[str], said: bool
) -> None:
    assert bool(_bridge(bench, tmp_path / "m", numbers, nodes, *texts)) is said
