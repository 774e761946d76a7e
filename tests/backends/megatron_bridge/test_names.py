"""Names of functions and of LoRA's layers that Megatron-Bridge does not have are found before the queue."""

from __future__ import annotations

import json

import pytest

from tests.backends.megatron_bridge.bridge_bench import found
from tests.workbench import Bench, make_bench

TEXT = "recipe: qwen3_8b_pretrain_config\ndataset: {mock: true}\nmodel: {tensor_model_parallel_size: 1}\n"
TORCH = "torch.nn.functional"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("names"))


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("+model.activation_func=siluu", f"model.activation_func={TORCH}.silu"),
        (f"+model.activation_func={TORCH}.geluu", f"model.activation_func={TORCH}.gelu"),
        (f"+model.activation_func={{_target_: {TORCH}.silu}}", f"model.activation_func={TORCH}.silu"),
        ("+model.init_method=xavier", "model.init_method=MODULE.NAME"),
        (f"+model.activation_func={TORCH}.silu", None),
        ("+model.activation_func=megatron.core.fusions.fused_bias_geglu.quick_gelu", None),
        ("+model.activation_func=mine.my_activation", None),
    ],
)
def test_functions_are_named_by_their_path(bench: Bench, text: str, fix: str | None) -> None:
    """Tried: `silu` and the mapping end the job before its first step; the path of silu trains."""
    told = [one for one in found(bench, TEXT, text) if one.level == "error"]
    assert [(one.code, one.fix) for one in told] == ([("bad-value", fix)] if fix else [])


@pytest.mark.parametrize(
    ("names", "level", "fix"),
    [
        (["q_proj", "v_proj"], "error", '["linear_qkv"]'),
        (["*.layers.0.*.o_proj"], "error", '["*.layers.0.*.linear_proj"]'),
        (["linear_qvk"], "error", '["linear_qkv"]'),
        (["linear_fc1", "down_proj"], "warning", '["linear_fc1","linear_fc2"]'),
        (["linear_qkv", "in_proj", "linear_q_proj", "*.layers.1.*", "router", "experts"], None, None),
    ],
)
def test_loras_layers_go_by_megatrons_names(bench: Bench, names: list[str], level: str | None, fix: str | None) -> None:
    texts = ["+checkpoint.pretrained_checkpoint=/w", "+peft._target_=megatron.bridge.peft.lora.LoRA"]
    texts.append(f"+peft.target_modules={json.dumps(names)}")
    told = [one for one in found(bench, TEXT, *texts) if "peft.target_modules" in one.message]
    assert [(one.level, one.fix) for one in told] == ([(level, f"peft.target_modules={fix}")] if fix else [])
