"""Megatron-Bridge has recipes for some models that scale further. Only a note: AutoModel is used all the same."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import distributed, step_scheduler
from automodel_launch.backends.automodel.model import parameters as model_parameters
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.plan.describe import amount, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

INDEX = "https://docs.nvidia.com/nemo/megatron-bridge/nightly/skills/nemo-mbridge-recipe-recommender/references/recipe-index.html"
# Families (model_type) with pretraining recipes in Megatron-Bridge, with those of the largest sizes; after INDEX and
# src/megatron/bridge/recipes/ of github.com/NVIDIA-NeMo/Megatron-Bridge, as of mid 2026.
RECIPES: dict[str, str] = {
    "llama": "llama3_8b, llama3_70b, llama31_405b",
    "qwen2": "qwen2_*, qwen25_* (0.5 to 72B)",
    "qwen3": "qwen3_* (0.6 to 32B)",
    "qwen3_moe": "qwen3_30b_a3b, qwen3_235b_a22b",
    "qwen3_next": "qwen3_next_80b_a3b",
    "deepseek_v2": "deepseek_v2, deepseek_v2_lite",
    "deepseek_v3": "deepseek_v3",
    "kimi_k2": "kimi_k2",
    "glm4_moe": "glm45_air_106b, glm45_355b",
    "gemma2": "gemma2_* (2 to 27B)",
    "gemma3_text": "gemma3_1b",
    "gpt_oss": "gpt_oss_20b, gpt_oss_120b",
    "nemotron_h": "nemotronh_*, nemotron_3_nano, nemotron_3_super",
    "olmoe": "olmoe_7b",
}
# From here on a model's recipes there use tensor, pipeline or expert parallelism over many nodes (llama3_70b: tp 8,
# pp 4, 32 GPUs); NeMo RL's guide draws the line between AutoModel and Megatron at 100 billion parameters.
RANKS = 64
PARAMETERS = 60 * 10**9
ALWAYS = 256  # ranks at which the communication of plain FSDP is felt with a smaller model too


def megatron_bridge(plan: Plan) -> Iterator[Finding]:
    """Many nodes, and a model that is split over them."""
    mesh = distributed.mesh(plan.config) if step_scheduler.is_given(plan.config) else None
    shape = model_shape.read(plan.config, plan.visible)
    if mesh is None or shape is None or shape.family not in RECIPES or plan.world_size < RANKS or plan.nodes < 2:
        return
    parameters = model_parameters.count(shape)
    sizes = {"tp": mesh.tp_size, "pp": mesh.pp_size, "ep": mesh.ep_size}
    split = [f"{name} {size}" for name, size in sizes.items() if size > 1]
    large = parameters is not None and parameters.total >= PARAMETERS
    wide = mesh.tp_size * mesh.pp_size > plan.processes_per_node or mesh.ep_size > plan.processes_per_node
    if not (large or wide or (split and plan.world_size >= ALWAYS)):
        return
    size = f", {amount(parameters.total)} parameters" if parameters else ""
    message = (
        f"{shape.family} ({shape.where}{size}) on {', '.join([ranks(plan), *split])}: Megatron-Bridge has pretraining"
        f" recipes for this family ({RECIPES[shape.family]}), laid out and tuned for tensor, pipeline and expert"
        " parallelism over many nodes."
    )
    yield Finding("note", "megatron-bridge", message, f"nothing has to change; see {INDEX}")


CHECKS = (megatron_bridge,)
