"""Numbers that are none, sizes of 0 and seeds of more than 32 bits are refused; what Megatron-Bridge takes is not."""

from __future__ import annotations

import pytest

from tests.backends.megatron_bridge.bridge_bench import found
from tests.workbench import Bench, make_bench

TEXT = "recipe: qwen3_8b_pretrain_config\ndataset: {mock: true}\nmodel: {tensor_model_parallel_size: 1}\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("numbers"))


@pytest.mark.parametrize(
    ("texts", "code", "words"),
    [
        (["+model.init_method_std=.nan"], "not-positive", "no number to compute with"),
        (["+model.layernorm_epsilon=.nan"], "not-positive", "no number to compute with"),
        (["+optimizer.lr=.nan"], "lr-range", "optimizer.lr = nan"),
        (["+optimizer.min_lr=.nan"], "lr-range", "no number"),
        (["+optimizer.clip_grad=.nan"], "bad-value", "is no number, and neither is"),
        (["+optimizer.lr=null"], "missing-key", "is null"),
        (["+optimizer.adam_eps=0.0"], "bad-value", "1e-8"),
        (["+rng.seed=4294967296"], "bad-value", "largest seed"),
        (["+model.num_layers=0"], "not-positive", "at least 1"),
        (["+model.ffn_hidden_size=0"], "not-positive", "at least 1"),
        (["+model.num_moe_experts=0"], "not-positive", "at least 1"),
        (["+model.num_moe_experts=2", "+model.moe_router_topk=3"], "bad-value", "more experts than the model's 2"),
        (["+model.kv_channels=7"], "bad-value", "kv_channels=8"),
    ],
)
def test_a_number_that_is_refused_is_found(bench: Bench, texts: list[str], code: str, words: str) -> None:
    errors = [one for one in found(bench, TEXT, *texts) if one.level == "error" and one.code == code]
    assert [one for one in errors if words in f"{one.message} {one.fix}"], errors


def test_numbers_that_are_taken(bench: Bench) -> None:
    given = ["+optimizer.clip_grad=0.0", "+rng.seed=4294967295", "+model.kv_channels=8", "+optimizer.adam_eps=1e-15"]
    given += ["+model.num_moe_experts=2", "+model.moe_router_topk=2"]
    assert [one for one in found(bench, TEXT, *given) if one.level == "error"] == []
