"""The formula of the memory estimate, judged by rehearsals: the same configs, counted by the real operations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import backends
from automodel_launch.backends.automodel.model import lora, shape
from tests.conftest import ROOT
from tests.recipes.rehearse.conftest import forks as forks
from tests.recipes.rehearse.forks import LIMIT_S, Forks
from tests.workbench import make_bench


def _llama(kind: str = "LlamaConfig", **sizes: Any) -> dict[str, Any]:
    default = {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 2, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 32768, "max_position_embeddings": 8192, "tie_word_embeddings": False,
    }  # fmt: skip
    return {"_target_": f"transformers.{kind}", "use_cache": False, **default, **sizes}


def _config(
    model: dict[str, Any],
    ranks: int = 8,
    micro: int = 1,
    accumulate: int = 2,
    dtype: str = "float32",
    peft: dict[str, Any] | None = None,
    **distributed: Any,
) -> tuple[dict[str, Any], int]:
    config = yaml.safe_load((ROOT / "configs/pretrain/tiny.yaml").read_text())
    del config["run"]
    mesh = {"strategy": "fsdp2", "tp_size": 1, "cp_size": 1, "pp_size": 1, "ep_size": 1, **distributed}
    config["distributed"] = mesh
    config["model"] |= {"torch_dtype": dtype, "config": model}
    replicas = ranks // (mesh["tp_size"] * mesh["pp_size"])
    batch = {"local_batch_size": micro, "global_batch_size": micro * replicas * accumulate}
    config["step_scheduler"].update(batch)
    for name in ("dataset", "validation_dataset"):  # they cannot be seen, so that batches of their shape stand in
        paths = {"seq_length": 2048, "paths": ["/absent/data"], "index_mapping_dir": "/absent/index"}
        config[name] = {key: value for key, value in {**config[name], **paths}.items() if key != "tokenizer"}
    config |= {"peft": peft} if peft else {}
    config["checkpoint"]["checkpoint_dir"] = "/absent/checkpoints"
    return config, ranks


_PIPELINE = {"pp_schedule": "1f1b", "pp_microbatch_size": 1, "layers_per_stage": 1}
_GPIPE = {**_PIPELINE, "pp_schedule": "gpipe"}
_WIDE = 131072
_LORA = {"_target_": lora.CLASS, "dim": 16, "alpha": 32}
CONFIGS = {
    "llama": _config(_llama()),
    "without accumulation": _config(_llama(), accumulate=1),
    "gradients reduced at once": _config(_llama(), accumulate=4, defer_fsdp_grad_sync=False),
    "layers recomputed": _config(_llama(), micro=2, activation_checkpointing=True),
    "selectively": _config(_llama(), micro=2, activation_checkpointing="selective"),
    "tensor parallel": _config(_llama(), tp_size=2),
    # of its last stage the logits of all micro-batches are kept, and made one tensor at the end
    "pipeline": _config(_llama(vocab_size=_WIDE), micro=4, pp_size=2, pipeline=_PIPELINE),
    "pipeline, all forward passes first": _config(_llama(vocab_size=_WIDE), 4, 3, 1, pp_size=2, pipeline=_GPIPE),
    "bfloat16": _config(_llama(), dtype="bfloat16"),
    "adapters": _config(_llama(), peft=_LORA),
    "ddp": _config(_llama(), strategy="ddp"),
    "qwen3": _config(_llama("Qwen3Config", head_dim=128, num_attention_heads=16, intermediate_size=6144)),
    "mistral": _config(_llama("MistralConfig", hidden_size=4096, intermediate_size=14336)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_formula_is_within_fifteen_percent(forks: Forks, tmp_path: Path, name: str) -> None:
    config, ranks = CONFIGS[name]
    job = {"world_size": ranks, "processes_per_node": ranks, "cuda": True, "job_python": False}
    found = forks.rehearse({"config": config, **job, "memory": True, "seconds": 2 * LIMIT_S})
    assert found["refusal"] is None
    peak = max(int(parts["peak"]) for parts in found["memory"]["rank"].values())
    assert _formula(tmp_path, config, ranks) == pytest.approx(peak, rel=0.15)


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"target_modules": ["*.q_proj", "*.down_proj"]},
        {"exclude_modules": ["lm_head"]},
        {"match_all_linear": True},
        {"target_modules": ["*.layers.1.*"]},
    ],
)
def test_adapters_are_counted_as_automodel_makes_them(chosen: dict[str, Any]) -> None:
    import transformers
    from nemo_automodel.components._peft.lora import PeftConfig, apply_lora_to_linear_modules

    sizes = _llama(hidden_size=64, intermediate_size=96, vocab_size=128)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{k: v for k, v in sizes.items() if k != "_target_"})
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    apply_lora_to_linear_modules(model, PeftConfig(dim=16, alpha=32, **chosen))
    made = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    config = {"model": {"config": sizes}, "peft": {**_LORA, **chosen}}
    read = shape.read(config)
    assert read is not None and lora.share(config, read, total) * total == pytest.approx(made)


def _formula(tmp_path: Path, config: dict[str, Any], ranks: int) -> int:
    bench = make_bench(tmp_path).trains(own_recipe=True)
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items() if key != "recipe")
    plan = bench.planned(lines, f"run.env.nproc_per_node={ranks}")
    found = backends.of(plan.recipe).sizes(plan).memory
    assert found is not None
    return found
