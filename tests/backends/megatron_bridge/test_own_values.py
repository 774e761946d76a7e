"""A recipe's own values, written into a config, are not refused; nor is one of their kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from automodel_launch.backends.megatron_bridge import checks, schema
from automodel_launch.backends.megatron_bridge.checks import sections, stages, values
from tests.backends.megatron_bridge.bridge_bench import found, plan
from tests.workbench import Bench, make_bench

LLAMA = "recipe: llama31_405b_pretrain_config\ndataset: {mock: true}\n"
GLM = "recipe: olmoe_7b_pretrain_config\ndataset: {mock: true}\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("own"))


def _written(name: str) -> dict[str, Any]:
    """The config of a recipe that says everything which the recipe sets."""
    config: dict[str, Any] = {"recipe": name}
    recipe = schema.load().recipe(name)
    for key, value in recipe.values.items() if recipe else ():
        *above, last = key.split(".")
        inner: Any = config
        for part in above:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and value != schema.UNKNOWN:
            inner[last] = value
    return config


def test_what_a_recipe_sets_itself_may_be_written(bench: Bench) -> None:
    one = plan(bench, LLAMA)
    wrong = []
    for name in schema.load().recipes:
        of_recipe = replace(one, config=_written(name))
        for check in (*sections.CHECKS, *values.CHECKS, *stages.CHECKS):
            wrong += [f"{name}: {finding.message}" for finding in check(of_recipe) if finding.level == "error"]
    assert len(schema.load().recipes) == 152 and not wrong
    assert set(sections.CHECKS) | set(values.CHECKS) | set(stages.CHECKS) <= set(checks.CHECKS)


@pytest.mark.parametrize(
    ("text", "override", "right"),
    [
        (LLAMA, "+train.manual_gc_eval=50", True),
        (LLAMA, "+train.manual_gc_eval=maybe", False),
        (LLAMA, "+train.manual_gc=1", False),
        (LLAMA, "+train.empty_unused_memory_level=5", False),
        (LLAMA, "+train.train_iters=10.5", False),
        (LLAMA, "+model.attention_backend=null", True),
        (LLAMA, "+comm_overlap.tp_comm_overlap_cfg.qkv_dgrad.num_sm=4", True),
        (LLAMA, "+comm_overlap.tp_comm_overlap_cfg.qkv_dgrad.num_sms=4", False),
        (GLM, "+model.init_method_std=0.01", True),
        (GLM, "+model.init_method_std=small", False),
    ],
)
def test_a_value_of_the_kind_that_the_recipe_has(bench: Bench, text: str, override: str, right: bool) -> None:
    key = override.removeprefix("+").partition("=")[0]
    assert right == (not [one for one in found(bench, text, override) if key in one.message and one.level == "error"])
