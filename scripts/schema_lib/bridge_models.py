"""Recipes of Megatron-Bridge that ask the Hugging Face hub for a model's config, built without asking it.

Such a recipe calls AutoBridge.from_hf_pretrained(ID).to_megatron_provider(). In its place stands the class of the
provider that the bridge of ID's family would return, with the sizes of the model, which Megatron-Bridge has itself: in
a provider of its own for each size (Qwen3ModelProvider8B), though its recipes no longer use it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

# Start of a hub id -> its transformers architecture, which tells the bridge; the longest start counts.
ARCHITECTURES = {
    "deepseek-ai/DeepSeek-V2": "DeepseekV2ForCausalLM",
    "deepseek-ai/DeepSeek-V3": "DeepseekV3ForCausalLM",
    "google/gemma-2-": "Gemma2ForCausalLM",
    "google/gemma-3-": "Gemma3ForConditionalGeneration",
    "google/gemma-3-1b": "Gemma3ForCausalLM",
    "meta-llama/": "LlamaForCausalLM",
    "mistralai/Ministral-3-": "Mistral3ForConditionalGeneration",
    "moonshotai/Moonlight-": "DeepseekV3ForCausalLM",
    "openai/gpt-oss-": "GptOssForCausalLM",
    "Qwen/Qwen2": "Qwen2ForCausalLM",
    "Qwen/Qwen3-": "Qwen3ForCausalLM",
    "Qwen/Qwen3-235B-A22B": "Qwen3MoeForCausalLM",
    "Qwen/Qwen3-30B-A3B": "Qwen3MoeForCausalLM",
    "Qwen/Qwen3-Next-": "Qwen3NextForCausalLM",
    "Qwen/Qwen3-VL-": "Qwen3VLForConditionalGeneration",
    "Qwen/Qwen3-VL-235B-A22B": "Qwen3VLMoeForConditionalGeneration",
    "Qwen/Qwen3-VL-30B-A3B": "Qwen3VLMoeForConditionalGeneration",
    "zai-org/GLM-4.5": "Glm4MoeForCausalLM",
    "zai-org/GLM-4.5V": "Glm4vMoeForConditionalGeneration",
}
# Bridges that name no provider class where they are registered, and build one of their own.
BUILT = {
    "Glm4vMoeForConditionalGeneration": "GLM45VModelProvider",
    "Mistral3ForConditionalGeneration": "Ministral3ModelProvider",
    "Qwen3NextForCausalLM": "Qwen3NextModelProvider",
}
# A hub id -> the provider with its sizes; a model of images and text has none with all of them.
SIZES = {
    "deepseek-ai/DeepSeek-V2": "DeepSeekV2ModelProvider",
    "deepseek-ai/DeepSeek-V2-Lite": "DeepSeekV2LiteModelProvider",
    "deepseek-ai/DeepSeek-V3": "DeepSeekV3ModelProvider",
    **{f"google/gemma-2-{size}b": f"Gemma2ModelProvider{size}B" for size in (2, 9, 27)},
    "google/gemma-3-1b-pt": "Gemma3ModelProvider1B",
    "meta-llama/Llama-2-7b-hf": "Llama2ModelProvider7B",
    **{f"meta-llama/Meta-Llama-3-{size}B": f"Llama3ModelProvider{size}B" for size in (8, 70)},
    **{f"meta-llama/Meta-Llama-3.1-{size}B": f"Llama31ModelProvider{size}B" for size in (8, 70, 405)},
    **{f"meta-llama/Llama-3.2-{size}B": f"Llama32ModelProvider{size}B" for size in (1, 3)},
    "moonshotai/Moonlight-16B-A3B": "MoonlightModelProvider16B",
    **{f"openai/gpt-oss-{size}b": f"GPTOSSProvider{size}B" for size in (20, 120)},
    **{
        f"Qwen/{name}-{size}": f"{name.replace('.', '')}ModelProvider{short}"
        for name, sizes in (
            ("Qwen2", {"0.5B": "500M", "1.5B": "1P5B", "7B": "7B", "72B": "72B"}),
            ("Qwen2.5", {"0.5B": "500M", "1.5B": "1P5B", "7B": "7B", "14B": "14B", "32B": "32B", "72B": "72B"}),
            ("Qwen3", {"0.6B": "600M", "1.7B": "1P7B", "4B": "4B", "8B": "8B", "14B": "14B", "32B": "32B"}),
        )
        for size, short in sizes.items()
    },
    **{f"Qwen/Qwen3-{size}": f"Qwen3MoEModelProvider{size.replace('-', '_')}" for size in ("30B-A3B", "235B-A22B")},
    "Qwen/Qwen3-Next-80B-A3B-Instruct": "Qwen3NextModelProvider80B_A3B",
    "zai-org/GLM-4.5": "GLM45ModelProvider355B",
    "zai-org/GLM-4.5-Air": "GLM45AirModelProvider106B",
}
NEEDED = {"num_layers": 1, "hidden_size": 128, "num_attention_heads": 1}  # fields without a default
_SIZE_FIELDS = (
    *("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "kv_channels"),
    *("vocab_size", "gated_linear_unit", "share_embeddings_and_output_weights", "multi_latent_attention"),
    *("num_moe_experts", "moe_ffn_hidden_size", "moe_router_topk", "moe_layer_freq"),
    *("moe_shared_expert_intermediate_size", "mtp_num_layers", "q_lora_rank", "kv_lora_rank", "qk_head_dim"),
    *("qk_pos_emb_head_dim", "v_head_dim"),
)


def providers() -> dict[str, type[Any]]:
    """Name -> class of every provider of a model; modules that cannot be imported without a GPU have none."""
    import megatron.bridge.models as models

    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(models.__path__, f"{models.__name__}."):
        try:
            members = vars(importlib.import_module(module.name))
        except ImportError:
            continue
        for name, member in members.items():
            own = inspect.isclass(member) and member.__module__ == module.name
            if own and dataclasses.is_dataclass(member) and "Provider" in name:
                found[name] = member
    return found


def provider_name(hub_id: str) -> str:
    """Name of the class that the bridge of a hub id returns.

    Raises:
        KeyError: the id is of no known family: add it to ARCHITECTURES.
    """
    from megatron.bridge.models.conversion.model_bridge import MegatronModelBridge

    known = [start for start in ARCHITECTURES if hub_id.startswith(start)]
    architecture = ARCHITECTURES[max(known, key=len)] if known else ARCHITECTURES[hub_id]
    if architecture in BUILT:
        return BUILT[architecture]
    bridge = next(one for one in MegatronModelBridge.__subclasses__() if architecture == one.SOURCE_NAME)
    return bridge.PROVIDER_CLASS.__name__ if bridge.PROVIDER_CLASS else "GPTModelProvider"


@contextmanager
def without_hub(asked: list[str]) -> Iterator[None]:
    """Inside, recipes build without the hub; the ids that they ask for are added to `asked`."""
    import torch
    from megatron.bridge import AutoBridge

    classes = providers()

    class Offline:
        def __init__(self, hub_id: str) -> None:
            asked.append(hub_id)
            self.hub_id = hub_id

        def to_megatron_provider(self, **_: Any) -> Any:
            return _sized(classes, self.hub_id)

    offline = classmethod(lambda cls, hub_id, **_: Offline(hub_id))
    hopper = mock.Mock(major=9, minor=0)  # asked before a dispatcher of experts is chosen (flex_dispatcher_backend.py)
    hopper.name = "NVIDIA H100 80GB HBM3"
    with (
        mock.patch.object(AutoBridge, "from_hf_pretrained", offline),
        mock.patch.object(torch.cuda, "get_device_properties", lambda *_: hopper),
    ):
        yield


def _sized(classes: dict[str, type[Any]], hub_id: str) -> Any:
    target = classes[provider_name(hub_id)]
    names = {field.name for field in dataclasses.fields(target) if field.init}
    given: dict[str, Any] = {}
    if hub_id in SIZES:
        sized = classes[SIZES[hub_id]]()
        given = {name: getattr(sized, name) for name in _SIZE_FIELDS if name in names and hasattr(sized, name)}
    return target(**{name: value for name, value in NEEDED.items() if name in names} | given)
