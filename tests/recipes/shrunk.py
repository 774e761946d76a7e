"""The shipped pretraining configs, made small by overrides: fewer layers and experts, less width, no other change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from automodel_launch.config import configs, files, overrides, yamlio
from automodel_launch.launch import planning
from automodel_launch.plan import recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace
from tests.recipes.pretrain_fixtures import ROOT, VOCABULARY

WORKSPACE = Workspace(ROOT, ROOT / "recipes", ROOT / "configs", ROOT / "env.toml")
LOCAL = '[local]\nexecutor = "local"\nnodes = 1\nnproc_per_node = 1\nremote_job_dir = "{jobs}"\ndata_dir = "{data}"\n'

_ALL = ["step_scheduler.global_batch_size=4", "step_scheduler.local_batch_size=2", "step_scheduler.max_steps=3"]
_ALL += ["step_scheduler.ckpt_every_steps=3", "lr_scheduler.lr_warmup_steps=1", "optimizer.lr=1e-2"]
_MEGATRON = ["dataset.seq_length=32", "validation_dataset.num_val_samples=4"]
_NO_WORKERS = ["dataloader.num_workers=0", "~dataloader.persistent_workers", "~dataloader.pin_memory"]
_WITH_WORKERS = "llama-100m"  # one is enough: their process imports AutoModel anew
_WIDTHS = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
_HEADS = {"num_attention_heads": 4, "head_dim": 16}
_TOKENS = {"bos_token_id": 0, "eos_token_id": 0}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "llama": {**_WIDTHS, **_HEADS, "num_key_value_heads": 1},
    "mistral": {**_WIDTHS, **_HEADS, "num_key_value_heads": 1},
    "qwen3": {**_WIDTHS, **_HEADS, "num_key_value_heads": 2},
    "qwen3_moe": {
        **{**_WIDTHS, **_HEADS, "num_key_value_heads": 1},
        **{"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    },
    "gemma3_text": {**_WIDTHS, **_HEADS, "num_key_value_heads": 1, "num_hidden_layers": 6, "sliding_window": 8},
    "deepseek_v3": {
        **{**_WIDTHS, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8},
        **{"num_experts_per_tok": 2, "moe_intermediate_size": 32, "q_lora_rank": 32, "kv_lora_rank": 16},
        **{"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16},
    },
}
"""Family -> its numbers, small."""
_SCRATCH = {
    **dict.fromkeys(("llama-3.2-1b", "llama-3.1-8b", "llama-100m"), "llama"),
    **{"qwen3-0.6b": "qwen3", "qwen3-30b-a3b": "qwen3_moe", "gemma-3-1b": "gemma3_text"},
    "deepseek-v3-small": "deepseek_v3",
}
_CONTINUED = {
    **dict.fromkeys(("llama-3.1-8b-cpt", "llama-3.1-8b-cpt-2-nodes"), "llama"),
    **{"qwen3-8b-cpt": "qwen3", "mistral-7b-cpt": "mistral", "default": "qwen3_moe"},
}
_OWN = {
    "tiny": [
        f"model.config.vocab_size={VOCABULARY}",
        "model.config.hidden_size=64",
        "model.config.num_hidden_layers=2",
    ],
    "nanogpt": [f"model.vocab_size={VOCABULARY}", "model.n_positions=32", "model.n_embd=32", "model.n_layer=2"],
    "custom-model": [f"model.vocab_size={VOCABULARY}", "model.width=64", "model.layers=2", "model.positions=32"],
}
_OWN["nanogpt"] += ["model.n_head=4"]
_OWN["custom-model"] += ["model.heads=4"]


def names() -> list[str]:
    """Every pretraining config."""
    return files.available(recipes.find(WORKSPACE, "pretrain"))


def continued(name: str) -> bool:
    """Whether it begins with published weights."""
    return name in _CONTINUED


def changes(name: str, place: Path) -> Iterator[str]:
    """The overrides; `place` holds a small model of each family (write_model) and a tokenizer."""
    yield from _ALL
    if name not in ("nanogpt", "custom-model"):
        yield from _MEGATRON
    if name == "custom-model":
        yield from _MEGATRON[1:]
    if name not in ("tiny", "nanogpt", _WITH_WORKERS):
        yield from _NO_WORKERS
    yield from _OWN.get(name, ())
    family = _SCRATCH.get(name) or _CONTINUED.get(name)
    experts = "num_experts" in str(SIZES.get(family or "", {})) or family == "deepseek_v3"
    if experts:  # AutoModel's own classes need CUDA; transformers' train on a CPU
        yield from ("+model.force_hf=true", "distributed.ep_size=1")
    if name in _SCRATCH:
        sizes = {**SIZES[_SCRATCH[name]], **({} if name == "llama-100m" else _TOKENS)}
        yield from (f"{_add(name, key)}model.config.{key}={value}" for key, value in sizes.items())
        yield f"dataset.tokenizer.pretrained_model_name_or_path={place / 'tiny' / 'tokenizer'}"
    elif name in _CONTINUED:
        yield f"model.pretrained_model_name_or_path={place / str(family)}"
    elif name == "custom-model":
        yield f"dataset.tokenizer.pretrained_model_name_or_path={place / 'tiny' / 'tokenizer'}"


def _add(name: str, key: str) -> str:
    """The sign of an override for a key that the config leaves to its class."""
    return "+" if (name, key) == ("llama-100m", "head_dim") else ""


def write_model(family: str, place: Path) -> Path:
    """A small model of that family with random weights, as a published one lies on a disk: `place`/FAMILY."""
    import torch
    import transformers

    directory = place / family
    if not directory.exists():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(family, **SIZES[family], **_TOKENS)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place / "tiny" / "tokenizer")
        tokenizer.save_pretrained(directory)
    return directory


def plan(name: str, data: Path, jobs: Path) -> Plan:
    """The plan of `launch.py pretrain -c NAME` with those overrides, on this machine."""
    if continued(name):
        write_model(_CONTINUED[name], data)
    recipe = recipes.find(WORKSPACE, "pretrain")
    env = jobs / "env.toml"
    env.write_text(LOCAL.format(jobs=jobs, data=data))
    environ = {**os.environ, "PRETRAIN_BLEND_PATH": str(data / "tiny" / "megatron" / "blend.json")}
    texts = [overrides.parse(text) for text in changes(name, data)]
    layered = configs.load(recipe, name, texts, ["--dry-run"])
    return planning.make(WORKSPACE, profiles.load(env, "local"), "local", recipe, layered, environ=environ)


def train(made: Plan, directory: Path) -> list[float]:
    """Train it in this process, as the job would; the losses of its steps."""
    import sys

    sys.path.insert(0, str(ROOT / "recipes"))
    import pretrain

    directory.mkdir(parents=True)
    os.environ |= {"LAUNCH_RUN_DIR": str(directory), "MASTER_PORT": "0"}
    config = directory / "config.yaml"
    config.write_text(json.dumps(yamlio.json_value(made.config)))
    os.chdir(ROOT)  # a job's directory has the files that travel at the same places
    code = pretrain.main(["--config", str(config)])
    assert code == 0, code
    records = Path(made.config["checkpoint"]["checkpoint_dir"], "training.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in records]
