"""Plans of the recipe `stub`, trained by Megatron-Bridge, and what its checks find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from automodel_launch import backends
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench

BLOCK = (
    'dependencies = []\n[tool.runspec]\nbackend = "megatron-bridge"\n[tool.runspec.run]\nlaunch = "torchrun"\n'
    '[tool.runspec.config]\ndir = "stub"\noptional = ["mode", "step_func", "hf_configs"]\nshort = {recipe = "_target_"}'
)
BACKEND = backends.get("megatron-bridge")


def plan(bench: Bench, text: str, *texts: str, world: int = 2, nodes: int = 1) -> Plan:
    """The plan of a config, on so many processes a node; the nodes are those of no executor that is asked."""
    bench.script("stub", BLOCK)
    bench.env(f'[local]\nexecutor = "local"\nnproc_per_node = {world}\n', local=False)
    made = bench.planned(text, *texts)
    return replace(made, profile=made.profile.model_copy(update={"nodes": nodes}))


def found(bench: Bench, text: str, *texts: str, **sizes: Any) -> list[Finding]:
    """What the backend's checks find; `tokens`, a note about any training, is left out."""
    return [one for one in BACKEND.checks(plan(bench, text, *texts, **sizes)) if one.code != "tokens"]


def codes(bench: Bench, text: str, *texts: str, **sizes: Any) -> list[tuple[str, str]]:
    """(level, code) of the same."""
    return [(one.level, one.code) for one in found(bench, text, *texts, **sizes)]
